# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.


"""What applies to SQLite and to us, for SQLAlchemy's suite.

The suite's own defaults leave out much that SQLite can do: ``OPEN`` asks for
it.  ``CLOSED`` and ``ABSENT`` are what SQLite itself lacks, ``REFUSED`` what
we refuse; each has its reason.
"""

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

OPEN = """
    aggregate_order_by autocommit boolean_col_expressions
    check_constraint_reflection computed_columns
    computed_columns_reflect_persisted computed_columns_stored
    computed_columns_virtual create_table_as create_temp_table_as ctes
    ctes_on_dml ctes_with_update_delete ctes_with_values date_historic
    datetime_historic datetime_literals dbapi_lastrowid except_
    expression_server_defaults
    fk_constraint_option_reflection_ondelete_noaction
    fk_constraint_option_reflection_ondelete_restrict
    fk_constraint_option_reflection_onupdate_restrict
    float_or_double_precision_behaves_generically
    foreign_key_constraint_name_reflection
    foreign_key_constraint_option_reflection_ondelete
    foreign_key_constraint_option_reflection_onupdate has_temp_table
    index_ddl_if_exists indexes_check_column_order indexes_with_expressions
    infinity_floats inline_check_constraint_reflection intersect
    isolation_level json_type legacy_unconditional_json_extract
    mod_operator_as_percent_sign nullsordering nvarchar_types
    order_by_label_with_expression percent_schema_names
    precision_numerics_enotation_small reflect_table_options
    reflects_pk_names regexp_match savepoints server_defaults
    skip_autocommit_rollback supports_bitwise_and supports_bitwise_not
    supports_bitwise_or supports_bitwise_shift supports_bitwise_xor
    table_ddl_if_exists temp_table_names temporary_views
    timestamp_microseconds tuple_in tuple_in_w_empty unicode_ddl update_from
    uuid_data_type views window_functions window_range window_range_numeric
""".split()

CLOSED = {
    'implicitly_named_constraints': 'SQLite gives constraints no names',
    'parens_in_union_contained_select_w_limit_offset':
        'not in the grammar of SQLite',
    'parens_in_union_contained_select_wo_limit_offset':
        'not in the grammar of SQLite',
    'precision_numerics_many_significant_digits':
        'SQLite keeps numbers as doubles',
}

ABSENT = {
    'SQLite keeps no comments': """comment_reflection
        comment_reflection_full_unicode constraint_comment_reflection
        temp_table_comment_reflection""",
    'SQLite has LIMIT and OFFSET, not FETCH': """fetch_expression fetch_first
        fetch_no_order_by fetch_offset_with_options fetch_percent
        fetch_ties""",
    'SQLite has no schemas but attached databases': """
        cross_schema_fk_reflection default_schema_name_switch
        implicit_default_schema schema_create_delete""",
    'SQLite has no such statement': """create_or_replace_view delete_from
        materialized_views materialized_views_reflect_pk supports_distinct_on
        table_value_constructor two_phase_transactions""",
    'SQLite has no such type': """array_type datetime_interval
        datetime_timezone datetime_timezone_historic time_timezone""",
    'SQLite has no such column': """computed_columns_default_persisted
        identity_columns identity_columns_standard""",
    "SQLite's dialect does not reflect it": """column_collation_reflection
        foreign_keys_reflect_as_index index_reflects_included_columns
        reflect_indexes_with_ascdesc_as_expression
        reflect_indexes_with_expressions reflect_tables_no_columns
        repeated_column_foreign_keys repeated_remote_col_foreign_keys
        unique_constraints_reflect_as_index
        unique_index_reflect_as_unique_constraints""",
    'SQLite has no such function': 'regexp_replace',
    'SQLite compares dates as text': 'window_range_non_numeric',
    'SQLite keeps numbers as doubles':
        'precision_numerics_retains_significant_digits',
    'another kind of driver': """async_dialect emulated_lastrowid
        emulated_lastrowid_even_with_sequences json_deserializer_binary""",
}

REFUSED = {
    'schemas': 'ATTACH is refused: a second database would have a catalog '
               'and transactions of its own',
}


class Requirements(SuiteRequirements):
    """The suite's defaults, with what stands above."""


def _state(opened: bool, reason: str = '') -> Any:
    predicate = exclusions.open() if opened else exclusions.skip_if(
        lambda: True, reason)
    return property(lambda self: predicate)


for _name in OPEN:
    setattr(Requirements, _name, _state(True))
for _name, _reason in {**CLOSED, **REFUSED}.items():
    setattr(Requirements, _name, _state(False, _reason))
for _reason, _names in ABSENT.items():
    for _name in _names.split():
        setattr(Requirements, _name, _state(False, _reason))

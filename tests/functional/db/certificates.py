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


"""Certificates for tests: an authority, and what it signs."""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption())


class Authority:
    """A certificate authority that lives as long as this object.

    :param folder: where files go.
    :param name: its own, and the beginning of its files' names.
    :ivar file: its certificate, as PEM.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder = pathlib.Path(folder)
        self._name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = str(self._folder / f'{name}.pem')
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).add_extension(x509.KeyUsage(
            False, False, False, False, False, True, True, False, False),
            critical=True).sign(self._key, hashes.SHA256())
        pathlib.Path(self.file).write_bytes(
            made.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
                 ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            self._name, subject, key.public_key(),
            x509.random_serial_number(), now - datetime.timedelta(hours=1),
            now + datetime.timedelta(days=1)).add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                critical=False).add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(
                        self._key.public_key()), critical=False)

    def sign(self, name: str, address: str | None = None
             ) -> tuple[str, str]:
        """Make a key and a certificate.

        :param address: that it is valid for; None: none.
        :returns: the files of certificate and key, PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        if address is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(address))]),
                critical=False)
        files = self._folder / f'{name}.crt', self._folder / f'{name}.key'
        files[0].write_bytes(builder.sign(
            self._key, hashes.SHA256()).public_bytes(
                serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        return str(files[0]), str(files[1])

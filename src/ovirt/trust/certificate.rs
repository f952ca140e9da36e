//! Certificates as people compare them: by fingerprint.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, ErrorKind, Result};

const FINGERPRINT_BYTES: usize = 32;
/// Bytes that fill a line of 64 digits.
const PEM_LINE_BYTES: usize = 48;

/// A certificate, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(pub(super) CertificateDer<'static>);

impl Certificate {
    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        Fingerprint(bytes)
    }

    /// As PEM files hold it.
    #[must_use]
    pub fn pem(&self) -> String {
        let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for line in self.0.chunks(PEM_LINE_BYTES) {
            base64(line, &mut text);
            text.push('\n');
        }
        text + "-----END CERTIFICATE-----\n"
    }
}

fn base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit > group.len();
            out.push(if is_padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
}

/// All certificates of a PEM file, of which there must be at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate>> {
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| {
        Error::new(ErrorKind::Invalid, "this is not PEM").because(error.to_string())
    })?;
    match all.is_empty() {
        true => Err(Error::new(ErrorKind::Invalid, "there is no certificate")),
        false => Ok(all.into_iter().map(Certificate).collect()),
    }
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.0.iter().enumerate() {
            let colon = if number == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        const BAD: &str = "not a SHA-256 fingerprint: 64 hexadecimal digits, colons between or not";
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 2 * FINGERPRINT_BYTES {
            return Err(BAD);
        }
        let mut bytes = [0; FINGERPRINT_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let value =
                |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
            let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(BAD) };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_with_and_without_colons() {
        let text = "00:".repeat(31) + "AF";
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.replace(':', "").to_lowercase().parse(), Ok(fingerprint));
        for bad in ["", "AF", &text[3..], &text.replace('A', "G"), &"é".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_is_that_of_everybody() {
        for (bytes, digits) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            let mut out = String::new();
            base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, digits);
        }
    }

    #[test]
    fn text_without_a_certificate_is_refused() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"] {
            assert!(certificates(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn certificates_of_a_file_are_told_apart_by_their_fingerprints() {
        let pem = |name: &str| {
            rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem()
        };
        let all = certificates((pem("a.test") + &pem("b.test")).as_bytes()).unwrap();
        assert_eq!(all.len(), 2);
        assert_ne!(all[0].fingerprint(), all[1].fingerprint());
        let again: String = all.iter().map(Certificate::pem).collect();
        assert_eq!(certificates(again.as_bytes()).unwrap(), all);
    }
}

//! Encrypted connections whose authority is read anew for each.

use std::error::Error as StdError;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::ovirt::address::Host;
use crate::ovirt::trust::certificate::{Certificate, certificates};

/// Who must have signed the certificate of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// One of the authorities in a PEM file, which is read anew for every connection.
    File(PathBuf),
    /// Anybody. Only for fetching the certificate that people then compare: nothing secret may be
    /// sent, and nothing that is received be believed.
    Nobody,
}

impl Anchor {
    /// The certificates of the file; none of [`Anchor::Nobody`].
    pub fn certificates(&self) -> Result<Vec<Certificate>> {
        let Self::File(path) = self else { return Ok(Vec::new()) };
        let pem = fs::read(path).context("cannot read the certificate authority", path)?;
        certificates(&pem).map_err(|error| error.at(path))
    }
}

/// The settings of all encrypted connections: TLS 1.2 or 1.3, nothing resumed, so that every
/// connection is verified against what the anchor says by then.
pub fn client_config(anchor: &Anchor) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { anchor: anchor.clone(), provider: Arc::clone(&provider) };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| {
        Error::new(ErrorKind::Unsupported, "cannot prepare encryption").because(error)
    })?;
    // "Dangerous" is what the builder calls every verifier but its own; this one asks that.
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[derive(Debug)]
struct Verifier {
    anchor: Anchor,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// The library's own verifier, over what the file says now.
    fn webpki(&self) -> std::result::Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let read = self.anchor.certificates();
        for certificate in read.map_err(|error| rustls::Error::General(error.chain()))? {
            roots.add(certificate.0)?;
        }
        let provider = Arc::clone(&self.provider);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.build().map_err(|error| rustls::Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if self.anchor == Anchor::Nobody {
            return Ok(ServerCertVerified::assertion());
        }
        let webpki = self.webpki()?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// How an encrypted connection began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// With a server that is who it should be.
    Proven,
    /// An authority that is not trusted signed the certificate.
    UnknownAuthority,
    /// The certificate is of another host; these are the names in it.
    OtherName(Vec<String>),
    /// The certificate is no longer, or not yet, valid.
    OutOfTime,
    /// Not at all, for another reason.
    Failed(String),
}

/// Begins an encrypted connection to `host` over `stream` and ends it.
pub fn handshake(stream: TcpStream, host: &Host, anchor: &Anchor) -> Result<Handshake> {
    let TlsStream(mut stream) = match encrypt(stream, host, anchor)? {
        Ok(stream) => stream,
        Err(outcome) => return Ok(outcome),
    };
    stream.conn.send_close_notify();
    // Whoever waits for the end of the connection sees it by the closed socket as well.
    let _ = stream.conn.complete_io(&mut stream.sock);
    Ok(Handshake::Proven)
}

/// An encrypted connection to a server that is who it should be.
pub struct TlsStream<S: Read + Write>(StreamOwned<ClientConnection, S>);

impl<S: Read + Write> TlsStream<S> {
    /// What carries it.
    pub fn inner(&mut self) -> &mut S {
        &mut self.0.sock
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Begins an encrypted connection to `host` over `stream`, or says how it failed, which is never
/// [`Handshake::Proven`].
pub fn encrypt<S: Read + Write>(
    stream: S,
    host: &Host,
    anchor: &Anchor,
) -> Result<std::result::Result<TlsStream<S>, Handshake>> {
    let name = ServerName::try_from(host.bare()).map_err(|error| {
        let what = format!("no certificate can name the host {host}");
        Error::new(ErrorKind::Invalid, what).because(error)
    })?;
    // The connection would fail for want of it, but say so less clearly.
    anchor.certificates()?;
    let config = Arc::new(client_config(anchor)?);
    let connection = ClientConnection::new(config, name).map_err(|error| {
        Error::new(ErrorKind::Remote, "cannot prepare encryption").because(error)
    })?;
    let mut stream = StreamOwned::new(connection, stream);
    loop {
        match stream.conn.complete_io(&mut stream.sock) {
            Ok(_) if stream.conn.is_handshaking() => {}
            Ok(_) => return Ok(Ok(TlsStream(stream))),
            Err(error) => return Ok(Err(explain(&error))),
        }
    }
}

fn explain(error: &io::Error) -> Handshake {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(problem)) = inner else {
        return Handshake::Failed(error.to_string());
    };
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Handshake::UnknownAuthority
        }
        CertificateError::NotValidForName => Handshake::OtherName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            Handshake::OtherName(presented.iter().map(|name| plain_name(name)).collect())
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Handshake::OutOfTime,
        _ => Handshake::Failed(error.to_string()),
    }
}

/// `a.test` of `DnsName("a.test")`, as the library shows names.
fn plain_name(shown: &str) -> String {
    let inside = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(shown).trim_matches('"').to_owned()
}

/// Whether encryption failed, and not the network: another try would end in the same way.
#[must_use]
pub fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || inner.is_some_and(|inner| is_distrust(inner))
        || error.source().is_some_and(is_distrust)
}

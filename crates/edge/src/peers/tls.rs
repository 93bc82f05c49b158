//! TLS between nodes: both sides show a certificate of the cluster's authority. TLS 1.3 only, with ring.
//!
//! | who connects | shows | is believed to be |
//! | --- | --- | --- |
//! | a member, for envelopes | its certificate | the node it is for, which the hello must name, too |
//! | one that joins, for a request | nothing | nobody: what it asks has to carry a token |
//!
//! A member expects the node it means. Who joins expects any member: the chain must end in the authority its token tells of.
//!
//! The doors for clients do not know these certificates: they open none of them.

use super::identity::{NodeIdentity, PeerIdentityError, digest, server_name};
use super::wire::{PeerError, Stream};
use holon_base::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// So that no other TLS service takes a node for its own client, or the other way round.
const PROTOCOL: &[u8] = b"holon-peers";

/// Both sides of TLS for a member.
pub struct PeersTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Who a connection asks to be.
pub(crate) enum Shown {
    /// There is no TLS: everybody is believed.
    Anything,
    Nothing,
    Certificate(CertificateDer<'static>),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// That a certificate was issued by the authority, is for this node, and is in date at a time since 1970.
pub(crate) fn check_certificate(
    certificate: &CertificateDer<'static>,
    authority: &CertificateDer<'static>,
    node: NodeId,
    now: Duration,
) -> Result<(), rustls::Error> {
    check_name(certificate, node)?;
    check_chain(certificate, authority, UnixTime::since_unix_epoch(now))
}

/// Whether a certificate is refused for its dates.
pub(crate) fn is_out_of_date(error: &rustls::Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let rustls::Error::InvalidCertificate(error) = error else { return false };
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

fn check_chain(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'static>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &*roots(authority)?, &[], now, algorithms)
}

fn check_name(certificate: &CertificateDer<'_>, node: NodeId) -> Result<(), rustls::Error> {
    let name = server_name(node).map_err(|error| rustls::Error::General(error.to_string()))?;
    verify_server_name(&ParsedCertificate::try_from(certificate)?, &name)
}

impl PeersTls {
    pub fn new(identity: &NodeIdentity) -> Result<PeersTls, PeerIdentityError> {
        let invalid = |error: rustls::server::VerifierBuilderError| PeerIdentityError::Invalid(error.to_string());
        let roots = roots(identity.authority_certificate())?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .allow_unauthenticated() // who joins has none; envelopes need one, see `Incoming`
            .build()
            .map_err(invalid)?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(identity.chain(), identity.private_key())?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Connections last; there is nothing to resume.
        server.send_tls13_tickets = 0;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(invalid)?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(identity.chain(), identity.private_key())?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(PeersTls { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    /// To a node that must prove to be the one meant.
    pub(crate) async fn connect(&self, node: NodeId, stream: TcpStream) -> Result<Box<dyn Stream>, PeerError> {
        let name = server_name(node).map_err(|error| PeerError::Damaged(error.to_string()))?;
        Ok(Box::new(self.connector.connect(name, stream).await.map_err(PeerError::Tls)?))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<(Box<dyn Stream>, Shown), PeerError> {
        let stream = self.acceptor.accept(stream).await.map_err(PeerError::Tls)?;
        let shown = match stream.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => Shown::Certificate(certificate.clone().into_owned()),
            _ => Shown::Nothing,
        };
        Ok((Box::new(stream), shown))
    }
}

impl Shown {
    /// Whether it may speak for a node.
    pub(crate) fn prove(&self, node: NodeId) -> Result<(), PeerError> {
        match self {
            Shown::Anything => Ok(()),
            Shown::Nothing => Err(PeerError::NoCertificate),
            Shown::Certificate(certificate) => {
                check_name(certificate, node).map_err(|_| PeerError::WrongCertificate { said: node })
            }
        }
    }
}

/// To any member of the cluster whose authority has this fingerprint.
pub(crate) async fn connect_to_member(fingerprint: [u8; 32], stream: TcpStream) -> Result<Box<dyn Stream>, PeerError> {
    let verifier = MemberVerifier { fingerprint, provider: provider() };
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let config = config.map_err(|error| PeerError::Tls(std::io::Error::other(error)))?;
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = false;
    // Which node it is nobody knows yet, and the verifier does not ask.
    let name = server_name(NodeId(0)).map_err(|error| PeerError::Damaged(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, stream).await.map_err(PeerError::Tls)?))
}

/// Takes a chain that ends in the certificate with this SHA-256, whichever node it is for.
#[derive(Debug)]
struct MemberVerifier {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for MemberVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|certificate| digest(certificate) == self.fingerprint);
        let Some(authority) = authority else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        check_chain(end_entity, &authority.clone().into_owned(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken between nodes".to_string()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

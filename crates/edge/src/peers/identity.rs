//! Who a node is to its peers: a certificate in its name, issued by the authority of its cluster.
//!
//! ```text
//!   <data directory>/cluster/   (mode 0700, files 0600)
//!     ca.key    the authority's key: every member has it, so that every member can admit others
//!     ca.crt    its certificate, self-signed; its SHA-256 is in every join token
//!     node.key  this node's key, which never leaves it
//!     node.crt  its certificate, good for both sides of a connection; written last
//! ```
//!
//! All keys are Ed25519, all files PEM. A node's name in its certificate is the DNS name `<node id>.node.holon`, which nobody looks up.
//! Certificates are good for ten years. A node that starts when less than a third of that is left of its own, or none, issues itself
//! another for the same key, as every member can. The authority's own is never replaced, and need not be: whoever trusts it does so
//! whatever its dates say. Taking certificates back is not here: a node that is no member any more still has its own, and the authority's key.

use super::tls;
use base64::Engine;
use holon_base::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

const DIRECTORY: &str = "cluster";
const AUTHORITY_NAME: &str = "Holon cluster authority";
const VALID: Duration = Duration::from_secs(3652 * 24 * 3600);
/// Nodes whose clocks are behind must take a new certificate all the same.
const VALID_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// Bytes of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

#[derive(Debug, Error)]
pub enum PeerIdentityError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {detail}", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("a key or certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("a key or certificate is damaged: {0}")]
    Invalid(String),
    #[error("the certificate is not for node {node}, or not of this cluster: {source}")]
    NotOurs { node: NodeId, source: rustls::Error },
    #[error("the authority's certificate is not the one the join token tells of: the token is of another cluster")]
    OtherAuthority,
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}

/// The name of a node in its certificate.
pub(crate) fn server_name(node: NodeId) -> Result<ServerName<'static>, PeerIdentityError> {
    ServerName::try_from(node_name(node)).map_err(|error| PeerIdentityError::Invalid(error.to_string()))
}

fn node_name(node: NodeId) -> String {
    format!("{node}.node.holon")
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn parameters(names: Vec<String>, common_name: String, now: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(common_name));
    parameters.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(VALID_BEFORE);
    parameters.not_after = date_time_ymd(1970, 1, 1) + now + VALID;
    Ok(parameters)
}

fn authority_parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = parameters(Vec::new(), AUTHORITY_NAME.to_string(), now())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(parameters)
}

fn key_from(der: &[u8]) -> Result<KeyPair, PeerIdentityError> {
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)?)
}

/// What issues the certificates of a cluster's nodes.
pub struct ClusterAuthority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// A public key as it came from elsewhere.
struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl ClusterAuthority {
    pub fn create() -> Result<ClusterAuthority, PeerIdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = authority_parameters()?.self_signed(&key)?.der().clone();
        Ok(ClusterAuthority { key, certificate })
    }

    /// From its key (PKCS #8) and certificate, both DER.
    pub fn from_der(key: &[u8], certificate: &[u8]) -> Result<ClusterAuthority, PeerIdentityError> {
        Ok(ClusterAuthority { key: key_from(key)?, certificate: CertificateDer::from(certificate.to_vec()) })
    }

    pub fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// What join tokens know it by.
    pub fn fingerprint(&self) -> [u8; 32] {
        digest(&self.certificate)
    }

    /// A certificate (DER) for a node with this Ed25519 public key. Whoever asks needs no proof that it has the private one:
    /// without it the certificate is of no use.
    pub fn issue(&self, node: NodeId, public_key: [u8; PUBLIC_KEY_BYTES]) -> Result<Vec<u8>, PeerIdentityError> {
        self.issue_at(node, public_key, now())
    }

    /// As of a time since 1970.
    pub fn issue_at(
        &self,
        node: NodeId,
        public_key: [u8; PUBLIC_KEY_BYTES],
        now: Duration,
    ) -> Result<Vec<u8>, PeerIdentityError> {
        let mut parameters = parameters(vec![node_name(node)], format!("Holon node {node}"), now)?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::new(authority_parameters()?, &self.key);
        Ok(parameters.signed_by(&PublicKey(public_key), &issuer)?.der().to_vec())
    }
}

/// A key of a node that has no certificate yet.
pub struct NodeKey(KeyPair);

impl NodeKey {
    pub fn create() -> Result<NodeKey, PeerIdentityError> {
        Ok(NodeKey(KeyPair::generate_for(&PKCS_ED25519)?))
    }

    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        let mut key = [0; PUBLIC_KEY_BYTES];
        key.copy_from_slice(self.0.public_key_raw());
        key
    }
}

/// A member's keys and certificates.
pub struct NodeIdentity {
    node: NodeId,
    authority: ClusterAuthority,
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl NodeIdentity {
    /// Of the first node of a new cluster.
    pub fn found(node: NodeId) -> Result<NodeIdentity, PeerIdentityError> {
        let (authority, key) = (ClusterAuthority::create()?, NodeKey::create()?);
        let certificate = authority.issue(node, key.public_key())?;
        NodeIdentity::new(node, authority, key, &certificate)
    }

    /// With a certificate of the cluster's authority, which is checked.
    pub fn new(
        node: NodeId,
        authority: ClusterAuthority,
        key: NodeKey,
        certificate: &[u8],
    ) -> Result<NodeIdentity, PeerIdentityError> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let identity = NodeIdentity { node, authority, key: key.0, certificate };
        identity.check()?;
        Ok(identity)
    }

    /// That the four belong together.
    fn check(&self) -> Result<(), PeerIdentityError> {
        let node = self.node;
        let check = |certificate: &CertificateDer<'static>| {
            let checked = tls::check_certificate(certificate, &self.authority.certificate, node, now());
            checked.map_err(|source| PeerIdentityError::NotOurs { node, source })
        };
        check(&self.certificate)?;
        // What it issues with that key must be good, too.
        check(&self.issue_own()?)?;
        tls::PeersTls::new(self)?; // refuses a certificate for another key
        Ok(())
    }

    fn issue_own(&self) -> Result<CertificateDer<'static>, PeerIdentityError> {
        let mut public_key = [0; PUBLIC_KEY_BYTES];
        public_key.copy_from_slice(self.key.public_key_raw());
        Ok(CertificateDer::from(self.authority.issue(self.node, public_key)?))
    }

    /// Whether the certificate is good but for its dates, and by these not now, or not for long any more. One that was issued by a
    /// clock that was ahead is good only later: a node must not be cut off until then.
    fn wants_renewal(&self) -> bool {
        let at = |when| tls::check_certificate(&self.certificate, &self.authority.certificate, self.node, when);
        [now(), now() + VALID / 3].into_iter().any(|when| at(when).is_err_and(|error| tls::is_out_of_date(&error)))
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn authority(&self) -> &ClusterAuthority {
        &self.authority
    }

    pub(crate) fn authority_certificate(&self) -> &CertificateDer<'static> {
        &self.authority.certificate
    }

    /// What the other side is shown. The authority's own is sent along: who joins knows nothing but its digest.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.authority.certificate.clone()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialized_der().to_vec()))
    }

    /// Writes it into a data directory, durably.
    pub fn save(&self, data: &Path) -> Result<(), PeerIdentityError> {
        let directory = data.join(DIRECTORY);
        let failed = |source| PeerIdentityError::File { path: directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        write(&directory, "ca.key", "PRIVATE KEY", self.authority.key_der())?;
        write(&directory, "ca.crt", "CERTIFICATE", &self.authority.certificate)?;
        write(&directory, "node.key", "PRIVATE KEY", self.key.serialized_der())?;
        sync(&directory).map_err(failed)?;
        write(&directory, "node.crt", "CERTIFICATE", &self.certificate)?;
        sync(&directory).and_then(|()| sync(data)).map_err(failed)
    }

    /// From a data directory; `None` if there is none, or writing it was broken off.
    pub fn load(data: &Path, node: NodeId) -> Result<Option<NodeIdentity>, PeerIdentityError> {
        let directory = data.join(DIRECTORY);
        if !directory.join("node.crt").exists() {
            return Ok(None);
        }
        let certificate = |name| read(&directory.join(name), CertificateDer::from_pem_slice);
        let key = |name| -> Result<KeyPair, PeerIdentityError> {
            let der = read(&directory.join(name), PrivatePkcs8KeyDer::from_pem_slice)?;
            key_from(der.secret_pkcs8_der())
        };
        let authority = ClusterAuthority { key: key("ca.key")?, certificate: certificate("ca.crt")? };
        let (key, certificate) = (key("node.key")?, certificate("node.crt")?);
        let mut identity = NodeIdentity { node, authority, key, certificate };
        let renewed = identity.wants_renewal();
        if renewed {
            identity.certificate = identity.issue_own()?;
        }
        let checked = identity.check();
        let path = directory.join("node.crt");
        checked.map_err(|error| PeerIdentityError::Damaged { path, detail: error.to_string() })?;
        if renewed {
            write(&directory, "node.crt", "CERTIFICATE", &identity.certificate)?;
            sync(&directory).map_err(|source| PeerIdentityError::File { path: directory.clone(), source })?;
            tracing::info!(%node, "the node's certificate is renewed: the one before was out of date, or good for a third of its time or less");
        }
        Ok(Some(identity))
    }
}

fn read<T, E: std::fmt::Display>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, E>) -> Result<T, PeerIdentityError> {
    let text = std::fs::read(path).map_err(|source| PeerIdentityError::File { path: path.to_path_buf(), source })?;
    parse(&text).map_err(|error| PeerIdentityError::Damaged { path: path.to_path_buf(), detail: error.to_string() })
}

/// One PEM block in a file that is new, whole or not there.
fn write(directory: &Path, name: &str, label: &str, der: &[u8]) -> Result<(), PeerIdentityError> {
    let path = directory.join(name);
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    let written = || {
        let unfinished = directory.join(format!("{name}.new"));
        // One that is left from a start that was broken off may have another mode.
        if let Err(error) = std::fs::remove_file(&unfinished)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)
    };
    written().map_err(|source| PeerIdentityError::File { path: path.clone(), source })
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So what it issues is good, when it is in date itself, also in eleven years.
    #[test]
    fn an_authority_is_trusted_whatever_its_dates_say() {
        let (authority, key, later) =
            (ClusterAuthority::create().expect("made"), NodeKey::create().expect("made"), now() + VALID * 11 / 10);
        let issued_at = |at| CertificateDer::from(authority.issue_at(NodeId(7), key.public_key(), at).expect("issued"));
        let check = |certificate| tls::check_certificate(&certificate, &authority.certificate, NodeId(7), later);
        assert_eq!(check(issued_at(later)), Ok(()));
        assert!(check(issued_at(now())).is_err_and(|error| tls::is_out_of_date(&error)));
    }
}

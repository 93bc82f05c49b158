//! How a node becomes a member, as far as keys go: the token an administrator carries over, and what is asked and
//! granted with it. What else a cluster wants to know and to tell travels along as bytes of the binary.
//!
//! ```text
//!   member:  JoinToken ── text, by hand ──►  who joins
//!   who joins: TLS to any member, checked by the fingerprint in the token
//!              JoinRequest (token id, secret, node id, public key)  ──►  the binary checks the secret
//!                                                                   ◄──  JoinGrant (authority, certificate)
//! ```

use super::identity::{ClusterAuthority, NodeIdentity, NodeKey, PUBLIC_KEY_BYTES, PeerIdentityError, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};
use std::fmt;
use thiserror::Error;

const PREFIX: &str = "holon1.";
const VERSION: u8 = 1;
const SECRET_BYTES: usize = 16;
/// Version, fingerprint, token id, secret.
const TOKEN_BYTES: usize = 1 + 32 + 8 + SECRET_BYTES;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum JoinError {
    #[error("a join token begins with {PREFIX:?} and is {} characters long", PREFIX.len() + TOKEN_BYTES.div_ceil(3) * 4)]
    NotAToken,
    #[error("join version {0} is not known here (known: {VERSION}): upgrade the older node")]
    Version(u8),
    #[error("join message: {0}")]
    Short(#[from] ShortInput),
}

/// Lets one in who has it, until it is taken back.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// [`ClusterAuthority::fingerprint`].
    pub authority: [u8; 32],
    pub id: u64,
    pub secret: [u8; SECRET_BYTES],
}

impl JoinToken {
    /// With a secret of the system's randomness.
    pub fn create(authority: &ClusterAuthority, id: u64) -> std::io::Result<JoinToken> {
        let secret = crate::process::random_u128()?.to_le_bytes();
        Ok(JoinToken { authority: authority.fingerprint(), id, secret })
    }

    /// What a cluster keeps to know the secret again: enough to check one, of no use to join with. Comparing these tells
    /// by its duration nothing about the secret.
    pub fn secret_digest(&self) -> [u8; 32] {
        digest(&self.secret)
    }

    pub fn encode(&self) -> String {
        let mut out = ByteWriter::with_capacity(TOKEN_BYTES);
        out.put_u8(VERSION);
        out.put_slice(&self.authority);
        out.put_u64(self.id);
        out.put_slice(&self.secret);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(out.as_slice()))
    }

    pub fn decode(text: &str) -> Result<JoinToken, JoinError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(JoinError::NotAToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JoinError::NotAToken)?;
        let mut input = ByteReader::new(bytes.into());
        match input.u8().map_err(|_| JoinError::NotAToken)? {
            VERSION => {}
            version => return Err(JoinError::Version(version)),
        }
        let mut token = || {
            let token = JoinToken { authority: array(&mut input)?, id: input.u64()?, secret: array(&mut input)? };
            input.end()?;
            Ok::<_, ShortInput>(token)
        };
        token().map_err(|_| JoinError::NotAToken)
    }
}

/// Logs must not let anyone in.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

fn array<const N: usize>(input: &mut ByteReader) -> Result<[u8; N], ShortInput> {
    let mut out = [0; N];
    out.copy_from_slice(&input.bytes(N)?);
    Ok(out)
}

/// What who joins asks, over a connection that [`super::Trust::Authority`] opened.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    pub token: u64,
    pub secret: [u8; SECRET_BYTES],
    pub node: NodeId,
    pub public_key: [u8; PUBLIC_KEY_BYTES],
    /// Of the binary: addresses, cores, zone.
    pub details: Bytes,
}

impl JoinRequest {
    pub fn new(token: &JoinToken, node: NodeId, key: &NodeKey, details: Bytes) -> JoinRequest {
        JoinRequest { token: token.id, secret: token.secret, node, public_key: key.public_key(), details }
    }

    /// See [`JoinToken::secret_digest`].
    pub fn secret_digest(&self) -> [u8; 32] {
        digest(&self.secret)
    }

    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(128 + self.details.len());
        out.put_u8(VERSION);
        out.put_u64(self.token);
        out.put_slice(&self.secret);
        out.put_u128(self.node.0);
        out.put_slice(&self.public_key);
        out.put_prefixed(&self.details);
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<JoinRequest, JoinError> {
        let mut input = ByteReader::new(bytes);
        version(&mut input)?;
        let request = JoinRequest {
            token: input.u64()?,
            secret: array(&mut input)?,
            node: NodeId(input.u128()?),
            public_key: array(&mut input)?,
            details: input.prefixed()?,
        };
        input.end()?;
        Ok(request)
    }
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinRequest({} with token {})", self.node, self.token)
    }
}

fn version(input: &mut ByteReader) -> Result<(), JoinError> {
    match input.u8()? {
        VERSION => Ok(()),
        version => Err(JoinError::Version(version)),
    }
}

/// What who joins is given: everything that makes it a member like the others.
pub struct JoinGrant {
    authority_key: Bytes,
    authority_certificate: Bytes,
    certificate: Bytes,
    /// Of the binary: the cluster's id, the members.
    pub details: Bytes,
}

impl JoinGrant {
    /// For a request whose secret was checked, and whose node is no member yet: the certificate lets it speak in that
    /// node's name.
    pub fn new(
        authority: &ClusterAuthority,
        request: &JoinRequest,
        details: Bytes,
    ) -> Result<JoinGrant, PeerIdentityError> {
        Ok(JoinGrant {
            authority_key: Bytes::copy_from_slice(authority.key_der()),
            authority_certificate: Bytes::copy_from_slice(authority.certificate_der()),
            certificate: authority.issue(request.node, request.public_key)?.into(),
            details,
        })
    }

    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(2048 + self.details.len());
        out.put_u8(VERSION);
        for part in [&self.authority_key, &self.authority_certificate, &self.certificate, &self.details] {
            out.put_prefixed(part);
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<JoinGrant, JoinError> {
        let mut input = ByteReader::new(bytes);
        version(&mut input)?;
        let grant = JoinGrant {
            authority_key: input.prefixed()?,
            authority_certificate: input.prefixed()?,
            certificate: input.prefixed()?,
            details: input.prefixed()?,
        };
        input.end()?;
        Ok(grant)
    }

    /// Makes the new member of it. Everything is checked against the token, the node and the key.
    pub fn accept(&self, token: &JoinToken, node: NodeId, key: NodeKey) -> Result<NodeIdentity, PeerIdentityError> {
        let authority = ClusterAuthority::from_der(&self.authority_key, &self.authority_certificate)?;
        if authority.fingerprint() != token.authority {
            return Err(PeerIdentityError::OtherAuthority);
        }
        NodeIdentity::new(node, authority, key, &self.certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_as_text_and_nothing_else_is_one() {
        let token = JoinToken { authority: [7; 32], id: 0x0102, secret: [255; 16] };
        let text = token.encode();
        assert_eq!(text, "holon1.AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAgEAAAAAAAD_____________________");
        assert_eq!(JoinToken::decode(&format!(" {text}\n")), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("255"), "secrets are not shown");
        for cut in 0..text.len() {
            assert!(JoinToken::decode(&text[..cut]).is_err(), "cut at {cut}");
        }
        let other = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([2; TOKEN_BYTES]));
        assert_eq!(JoinToken::decode(&other), Err(JoinError::Version(2)));
        assert_eq!(JoinToken::decode(&format!("{text}AAAA")), Err(JoinError::NotAToken));
    }

    #[test]
    fn requests_and_grants_survive_the_wire_and_cut_ones_are_refused() {
        let authority = ClusterAuthority::create().expect("authority");
        let token = JoinToken::create(&authority, 4).expect("token");
        let (node, key) = (NodeId(77), NodeKey::create().expect("key"));
        let request = JoinRequest::new(&token, node, &key, Bytes::from_static(b"details"));
        let bytes = request.encode();
        assert_eq!(JoinRequest::decode(bytes.clone()), Ok(request.clone()));
        assert_eq!(request.secret_digest(), token.secret_digest());
        for cut in 0..bytes.len() {
            assert!(JoinRequest::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let grant = JoinGrant::new(&authority, &request, Bytes::from_static(b"members")).expect("grant").encode();
        for cut in 0..grant.len() {
            assert!(JoinGrant::decode(grant.slice(..cut)).is_err(), "cut at {cut}");
        }
        let grant = JoinGrant::decode(grant).expect("whole");
        let other = JoinToken { authority: [0; 32], ..token.clone() };
        let refused = grant.accept(&other, node, NodeKey::create().expect("key")).err();
        assert!(matches!(refused, Some(PeerIdentityError::OtherAuthority)));
        let refused = grant.accept(&token, NodeId(78), NodeKey::create().expect("key")).err();
        assert!(matches!(refused, Some(PeerIdentityError::NotOurs { .. })));
        let member = grant.accept(&token, node, key).expect("a member");
        assert_eq!((member.node(), &grant.details[..]), (node, &b"members"[..]));
    }
}

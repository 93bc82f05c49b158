//! Certificates: who is let in, who is not, and how one becomes a member.

use crate::damage::{converse, frame, hello, refusal};
use crate::support::{CLUSTER, ECHO, Node, PATIENCE, Plan, at, block_on, eventually, introduce};
use base64::Engine;
use bytes::Bytes;
use holon_base::NodeId;
use holon_edge::peers::{
    AskError, ClusterAuthority, JoinGrant, JoinRequest, JoinToken, NodeIdentity, NodeKey, PeerIdentityError, PeersTls,
    RequestHandler, Security, Trust, ask,
};
use holon_kernel::CallError;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SHORT: Duration = Duration::from_millis(400);

fn secured(plan: Plan, identity: &NodeIdentity) -> Plan {
    let tls = OnceLock::from(PeersTls::new(identity).expect("tls"));
    Plan { security: Security::Tls(Arc::new(tls)), ..plan }
}

/// A copy of the authority.
fn authority_of(identity: &NodeIdentity) -> ClusterAuthority {
    let authority = identity.authority();
    ClusterAuthority::from_der(authority.key_der(), authority.certificate_der()).expect("authority")
}

fn member(authority: &ClusterAuthority, node: u128) -> NodeIdentity {
    let key = NodeKey::create().expect("key");
    let certificate = authority.issue(NodeId(node), key.public_key()).expect("certificate");
    let own = ClusterAuthority::from_der(authority.key_der(), authority.certificate_der()).expect("authority");
    NodeIdentity::new(NodeId(node), own, key, &certificate).expect("identity")
}

/// Plans for nodes 1 and 2 of one cluster, with so many cores.
pub fn two_members(one: u16, two: u16) -> (Plan, Plan) {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let second = member(first.authority(), 2);
    (secured(Plan::new(1, one), &first), secured(Plan::new(2, two), &second))
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("holon-peers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn members_call_each_other_and_find_each_other_again() {
    let (one, two) = two_members(2, 3);
    let (one, two) = (Node::start(one), Node::start(two));
    introduce(&[&one, &two]);
    for length in [0, 5, 100_000, holon_kernel::limits::ENVELOPE_PAYLOAD_BYTES_MAX] {
        let payload: Bytes = (0..length).map(|at| (at % 253) as u8).collect();
        assert!(one.call(1, at(&two, 2), ECHO, payload.clone(), PATIENCE) == Ok(payload), "{length} bytes");
    }
    let (plan, address) = two.stop();
    let two = Node::start(Plan { address, ..plan });
    introduce(&[&one, &two]);
    let again = || one.call(0, at(&two, 0), ECHO, Bytes::new(), SHORT).is_ok();
    eventually("an answer after a restart", again, || one.reports().join("\n"));
    assert!(two.reports().is_empty(), "{:?}", two.reports());
}

#[test]
fn a_node_of_another_authority_is_refused_on_both_sides() {
    let (one, _) = two_members(1, 1);
    let stranger = secured(Plan::new(2, 1), &NodeIdentity::found(NodeId(2)).expect("identity"));
    let (one, two) = (Node::start(one), Node::start(stranger));
    introduce(&[&one, &two]);
    assert_eq!(one.call(0, at(&two, 0), ECHO, Bytes::new(), SHORT), Err(CallError::Timeout));
    one.expect_report("cannot be reached: TLS: invalid peer certificate");
    two.expect_report("was ended: TLS: received fatal alert");
    assert_eq!(one.figures(NodeId(2)).expect("figures").connects_total, 0);
}

#[test]
fn a_node_that_says_it_is_another_is_refused_on_both_sides() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    // It has a certificate of the cluster, but for node 2.
    let liar = secured(Plan::new(3, 1), &member(first.authority(), 2));
    let (one, liar) = (Node::start(secured(Plan::new(1, 1), &first)), Node::start(liar));
    introduce(&[&one, &liar]);
    assert_eq!(liar.call(0, at(&one, 0), ECHO, Bytes::new(), SHORT), Err(CallError::Timeout));
    let reason = format!("it said it was node {}, and its certificate is not for that node", NodeId(3));
    one.expect_report(&reason);
    liar.expect_report(&format!("refused: {reason}"));
    assert_eq!(one.call(0, at(&liar, 0), ECHO, Bytes::new(), SHORT), Err(CallError::Timeout));
    one.expect_report("cannot be reached: TLS: invalid peer certificate: certificate not valid for name");
}

#[test]
fn envelopes_need_a_certificate() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let node = Node::start(secured(Plan::new(1, 1), &first));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(first.authority().certificate_der().to_vec())).expect("root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"holon-peers".to_vec()];
    let name = ServerName::try_from(format!("{}.node.holon", NodeId(1))).expect("name");
    let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("connection");
    let stream = TcpStream::connect(node.address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut stream = rustls::StreamOwned::new(connection, stream);
    stream.write_all(&hello(1, CLUSTER, 2, 1)).expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let reason = "it showed no certificate: only who joins may go without";
    assert_eq!(answer, refusal(reason));
    node.expect_report(reason);
}

#[test]
fn who_speaks_without_tls_is_told_so_and_the_other_way_round() {
    let (one, _) = two_members(1, 1);
    let secure = Node::start(one.clone());
    let reason = "it began without TLS, and this node requires it: start both nodes the same way";
    assert_eq!(converse(&secure, &hello(1, CLUSTER, 2, 1)), refusal(reason));
    secure.expect_report(reason);
    assert!(converse(&secure, b"GET / HTTP/1.1\r\n\r\n").is_empty());
    assert!(!converse(&secure, &[[22, 3, 1].as_slice(), &[255; 600]].concat()).is_empty(), "an alert of TLS");

    let insecure = Node::start(Plan::new(2, 1));
    introduce(&[&secure, &insecure]);
    assert_eq!(secure.call(0, at(&insecure, 0), ECHO, Bytes::new(), SHORT), Err(CallError::Timeout));
    insecure.expect_report("it began TLS, and this node speaks without (--insecure)");
    let unasked = block_on(ask(secure.address, Trust::Anyone, Bytes::new(), PATIENCE)).expect_err("refused");
    assert!(matches!(&unasked, AskError::Refused { reason: said, .. } if said == reason), "{unasked}");
}

#[test]
fn a_node_without_an_identity_waits_until_it_has_one() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let later = Arc::new(OnceLock::new());
    let joining = Plan { security: Security::Tls(later.clone()), ..Plan::new(2, 1) };
    let (one, two) = (Node::start(secured(Plan::new(1, 1), &first)), Node::start(joining));
    introduce(&[&one, &two]);
    assert_eq!(one.call(0, at(&two, 0), ECHO, Bytes::new(), SHORT), Err(CallError::Timeout));
    two.expect_report("this node belongs to no cluster yet");
    assert!(later.set(PeersTls::new(&member(first.authority(), 2)).expect("tls")).is_ok());
    let answers = || one.call(0, at(&two, 0), ECHO, Bytes::new(), SHORT).is_ok();
    eventually("an answer", answers, || one.reports().join("\n"));
}

/// Lets in who has the token.
fn doorkeeper(authority: ClusterAuthority, token: &JoinToken) -> RequestHandler {
    let (authority, expected) = (Arc::new(authority), (token.id, token.secret_digest()));
    Arc::new(move |request| {
        let authority = authority.clone();
        Box::pin(async move {
            let request = JoinRequest::decode(request).map_err(|error| error.to_string())?;
            if (request.token, request.secret_digest()) != expected {
                return Err("this token is not known here".to_string());
            }
            let grant = JoinGrant::new(&authority, &request, request.details.clone());
            Ok(grant.map_err(|error| error.to_string())?.encode())
        })
    })
}

#[test]
fn who_has_a_token_becomes_a_member() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let token = JoinToken::create(first.authority(), 12).expect("token");
    let handler = doorkeeper(authority_of(&first), &token);
    let one = Node::start(Plan { requests: Some(handler), ..secured(Plan::new(1, 2), &first) });

    let carried = JoinToken::decode(&token.encode()).expect("a token");
    let (node, key) = (NodeId(2), NodeKey::create().expect("key"));
    let request = JoinRequest::new(&carried, node, &key, Bytes::from_static(b"me")).encode();
    let trust = Trust::Authority(carried.authority);
    let grant = block_on(ask(one.address, trust, request, PATIENCE)).expect("a grant");
    let grant = JoinGrant::decode(grant).expect("a grant");
    assert_eq!(grant.details[..], *b"me");
    let identity = grant.accept(&carried, node, key).expect("a member");
    let directory = Directory::new("join");
    identity.save(&directory.0).expect("saved");

    let identity = NodeIdentity::load(&directory.0, node).expect("loaded").expect("there");
    let two = Node::start(secured(Plan::new(2, 1), &identity));
    introduce(&[&one, &two]);
    let payload = Bytes::from_static(b"one of us");
    assert_eq!(one.call(0, at(&two, 0), ECHO, payload.clone(), PATIENCE), Ok(payload.clone()));
    assert_eq!(two.call(0, at(&one, 1), ECHO, payload.clone(), PATIENCE), Ok(payload));
    // Every member can admit others.
    assert_eq!(identity.authority().fingerprint(), first.authority().fingerprint());
    member(identity.authority(), 3);
}

#[test]
fn a_wrong_token_lets_nobody_in() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let token = JoinToken::create(first.authority(), 12).expect("token");
    let handler = doorkeeper(authority_of(&first), &token);
    let one = Node::start(Plan { requests: Some(handler), ..secured(Plan::new(1, 1), &first) });
    let key = NodeKey::create().expect("key");
    let ask_with = |token: &JoinToken| {
        let request = JoinRequest::new(token, NodeId(2), &key, Bytes::new()).encode();
        block_on(ask(one.address, Trust::Authority(token.authority), request, PATIENCE)).expect_err("refused")
    };
    let guessed = ask_with(&JoinToken { secret: [0; 16], ..token.clone() });
    assert!(matches!(&guessed, AskError::Refused { reason, .. } if reason == "this token is not known here"));
    // The secret is not shown to whoever is not of the token's cluster.
    let elsewhere = ClusterAuthority::create().expect("authority").fingerprint();
    let elsewhere = ask_with(&JoinToken { authority: elsewhere, ..token });
    assert!(matches!(elsewhere, AskError::Unreachable { .. }), "{elsewhere}");
    assert!(elsewhere.to_string().contains("invalid peer certificate"), "{elsewhere}");
}

#[test]
fn the_files_of_an_identity_are_private_and_checked() {
    let directory = Directory::new("files");
    let node = NodeId(9);
    assert!(NodeIdentity::load(&directory.0, node).expect("nothing").is_none());
    let identity = NodeIdentity::found(node).expect("identity");
    identity.save(&directory.0).expect("saved");
    identity.save(&directory.0).expect("saved again");
    let files = ["ca.crt", "ca.key", "node.crt", "node.key"];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.0.join("cluster")).expect("directory") {
        let entry = entry.expect("entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        found.push(entry.file_name().into_string().expect("name"));
    }
    found.sort();
    assert_eq!(found, files);
    let loaded = NodeIdentity::load(&directory.0, node).expect("loaded").expect("there");
    assert_eq!(loaded.authority().fingerprint(), identity.authority().fingerprint());
    let other = NodeIdentity::load(&directory.0, NodeId(8)).err().expect("not that node's").to_string();
    assert!(other.contains("node.crt") && other.contains("is not for node"), "{other}");
    // Each damaged, or taken from another identity, is found.
    let another = Directory::new("others");
    NodeIdentity::found(node).expect("identity").save(&another.0).expect("saved");
    for name in files {
        let path = directory.0.join("cluster").join(name);
        let good = std::fs::read(&path).expect("read");
        let foreign = std::fs::read(another.0.join("cluster").join(name)).expect("read");
        for bad in [&good[..good.len() / 2], b"", &foreign] {
            std::fs::write(&path, bad).expect("write");
            assert!(NodeIdentity::load(&directory.0, node).is_err(), "{name} of {} bytes", bad.len());
        }
        std::fs::write(&path, &good).expect("write");
    }
    assert!(NodeIdentity::load(&directory.0, node).is_ok());
}

#[test]
fn a_request_that_is_damaged_is_refused() {
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    let token = JoinToken::create(first.authority(), 1).expect("token");
    let handler = doorkeeper(authority_of(&first), &token);
    let one = Node::start(Plan { requests: Some(handler), ..Plan::new(1, 1) });
    let request_hello = [b"HOLN".to_vec(), frame(&[1, 1])].concat();
    for bad in [frame(&[]), frame(&[9]), frame(&[1, 2, 3])] {
        let answer = converse(&one, &[&request_hello[..], &bad].concat());
        assert!(String::from_utf8_lossy(&answer).contains("join "), "{answer:?}");
    }
    let long = [&(1u32 << 20).to_le_bytes()[..], &[0; 4]].concat();
    converse(&one, &[&request_hello[..], &long].concat());
    one.expect_report("a frame of 1048576 bytes, and at most 65536 are allowed here");
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Every member has the authority's key, and needs nobody for it.
#[test]
fn a_node_that_starts_renews_a_certificate_that_is_not_good_for_long() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let cases = [
        (now, false),
        (now - 6 * YEAR, false),
        (now - 7 * YEAR, true),
        (now - 11 * YEAR, true),
        // By a clock that was ahead.
        (now + 2 * YEAR, true),
    ];
    let first = NodeIdentity::found(NodeId(1)).expect("identity");
    for (number, (issued_at, renewed)) in cases.into_iter().enumerate() {
        let directory = Directory::new(&format!("renewal-{number}"));
        let key = NodeKey::create().expect("key");
        let public_key = key.public_key();
        let certificate = first.authority().issue(NodeId(2), public_key).expect("certificate");
        let identity = NodeIdentity::new(NodeId(2), authority_of(&first), key, &certificate).expect("identity");
        identity.save(&directory.0).expect("saved");
        let path = directory.0.join("cluster/node.crt");
        let write = |node: u128, at: Duration| {
            let der = first.authority().issue_at(NodeId(node), public_key, at).expect("certificate");
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
                .expect("written");
        };
        let read = || std::fs::read(&path).expect("there");
        write(2, issued_at);
        let before = read();
        let loaded = NodeIdentity::load(&directory.0, NodeId(2)).expect("starts").expect("is there");
        assert_eq!(read() != before, renewed, "issued at {issued_at:?}");
        let after = read();
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        NodeIdentity::load(&directory.0, NodeId(2)).expect("starts again").expect("is there");
        assert_eq!(read(), after, "renewed once");

        let (one, two) = (secured(Plan::new(1, 1), &first), secured(Plan::new(2, 1), &loaded));
        let (one, two) = (Node::start(one), Node::start(two));
        introduce(&[&one, &two]);
        assert!(
            one.call(0, at(&two, 0), ECHO, Bytes::from_static(b"hello"), PATIENCE).is_ok(),
            "issued at {issued_at:?}"
        );

        // Of another node: nothing that is renewed.
        write(3, issued_at);
        assert!(matches!(NodeIdentity::load(&directory.0, NodeId(2)), Err(PeerIdentityError::Damaged { .. })));
    }
}

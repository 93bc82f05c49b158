//! How this node comes to belong to a cluster, lets others in, and talks to them.
//!
//! ```text
//!   first start, no --join:   found a cluster (and its certificate authority)
//!   first start with --join:  ask a member, with a token ─▶ certificate, cluster, members ─▶ write them down
//!   any later start:          what was written down; with --join the others are also looked for there
//! ```
//!
//! A token is good for one node, for a time, and at the node that gave it, while that runs. With `--insecure` there are
//! neither certificates nor tokens: whoever reaches the door for peers is believed.

use crate::settings::{Settings, flag};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId};
use holon_edge::peers::{
    AskError, JoinGrant, JoinRequest as Asked, JoinToken, NodeIdentity, NodeKey, PeerTimeouts, PeersTls,
    RequestHandler, Security, Trust, ask,
};
use holon_edge::{Clock, DataDir, DiskPool, Peers, PeersOptions, ShardHandle};
use holon_kernel::{Class, DiskClient, LocalFuture};
use holon_metadata::{AdmitError, Cluster, Identity, IdentityError, JoinRequest, NodeOptions};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A node that is to join asks for so long: those it asks may be starting too.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// Between two rounds of asking.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// One answer may take an election of the metadata group.
const JOIN_TIMEOUT: Duration = Duration::from_secs(25);
/// Tokens that are open at a time, so that a loop that asks for them is told.
const TOKENS_MAX: usize = 1000;
/// Between two looks for the others, when they are not to be found.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(15);
/// One who answers who it is does so at once.
const WHO_TIMEOUT: Duration = Duration::from_secs(5);
/// Asks a node who it is. Not a version of [`Asked`], which begins with its own.
const WHO: &[u8] = b"who are you? 1";
/// Begins refusals that asking again cannot change.
const FINAL: &str = "not let in: ";

/// What makes this node a member.
pub struct Membership {
    pub peers: Arc<Peers>,
    /// `None`: `--insecure`.
    identity: Option<Arc<NodeIdentity>>,
    address: SocketAddr,
    tokens: Arc<Tokens>,
    /// The first shard, when it has started.
    first: Arc<OnceLock<ShardHandle>>,
}

#[derive(Default)]
struct Tokens(Mutex<BTreeMap<u64, OpenToken>>);

struct OpenToken {
    secret_digest: [u8; 32],
    until: Instant,
    /// The node and key that came with it: they may ask again if they missed the answer.
    used_by: Option<(NodeId, [u8; 32])>,
}

impl Tokens {
    fn add(&self, id: u64, secret_digest: [u8; 32], ttl: Duration) -> Result<(), String> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|_, token| token.until > now);
        if open.len() >= TOKENS_MAX {
            return Err(format!("{TOKENS_MAX} tokens are open: use them, or wait until they expire"));
        }
        open.insert(id, OpenToken { secret_digest, until: now + ttl, used_by: None });
        Ok(())
    }

    /// Takes a token for a node; whether it had done so before.
    fn take(&self, asked: &Asked) -> Result<bool, String> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = open.get_mut(&asked.token).filter(|token| token.until > Instant::now());
        let token = token.filter(|token| token.secret_digest == asked.secret_digest());
        let Some(token) = token else {
            return Err("this node did not give that token, or it has expired; `holon token` gives one".to_string());
        };
        let who = (asked.node, asked.public_key);
        match token.used_by {
            None => {
                token.used_by = Some(who);
                Ok(false)
            }
            Some(before) if before == who => Ok(true),
            Some(_) => Err("that token was used by another node; `holon token` gives one more".to_string()),
        }
    }
}

/// Finds out who this node is and which cluster it belongs to; founds or joins one at its first start.
pub async fn prepare(
    settings: &Settings,
    data: &Arc<DataDir>,
    pool: &Arc<DiskPool>,
    clock: Clock,
    address: SocketAddr,
) -> Result<(Identity, Membership), String> {
    let mut identity = load(data, pool, clock)?;
    let shown = data.path().display().to_string();
    let mut own = match settings.insecure {
        true => None,
        false => NodeIdentity::load(data.path(), identity.node).map_err(|error| error.to_string())?,
    };
    match &identity.cluster {
        Some(_) if !settings.join.is_empty() => {
            let way = "it joins no other; if the others have moved they are looked for there";
            tracing::info!("{shown} belongs to a member of a cluster already: {} {way}", flag("join"));
        }
        Some(_) => {}
        None if settings.join.is_empty() => {
            // As random as the node's id, and never to be mistaken for it.
            identity.cluster = Some(Cluster::founded_by(identity.node, identity.node.0.rotate_left(64)));
        }
        None => {
            let (joined, cluster) = join(settings, &identity).await?;
            identity.cluster = Some(cluster);
            own = joined;
        }
    }
    let founder = identity.cluster.as_ref().is_some_and(|cluster| cluster.founder == identity.node);
    if own.is_none() && !settings.insecure {
        if !founder {
            return Err(format!("{shown} joined its cluster with --insecure: start it with --insecure"));
        }
        own = Some(NodeIdentity::found(identity.node).map_err(|error| error.to_string())?);
    }
    if let Some(own) = &own {
        // Before the cluster is written down: a member has what it needs to talk to the others.
        own.save(data.path()).map_err(|error| error.to_string())?;
    }
    write(data, pool, clock, &identity)?;
    let membership = Membership::new(&identity, own, address, settings.peer_address.ip())?;
    Ok((identity, membership))
}

fn load(data: &Arc<DataDir>, pool: &Arc<DiskPool>, clock: Clock) -> Result<Identity, String> {
    let fresh = holon_edge::random_u128().map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let work = move |disk: DiskClient| -> LocalFuture<Result<Identity, IdentityError>> {
        Box::pin(async move { holon_metadata::load_or_create(&disk, NodeId(fresh)).await })
    };
    match holon_edge::run_on_disk(data, pool, clock, work) {
        Some(Ok(identity)) => Ok(identity),
        Some(Err(error)) => {
            data.leave_as_found();
            Err(format!("{}: {error}", data.path().display()))
        }
        None => Err(format!("{}: the disk does not answer", data.path().display())),
    }
}

fn write(data: &Arc<DataDir>, pool: &Arc<DiskPool>, clock: Clock, identity: &Identity) -> Result<(), String> {
    let identity = identity.clone();
    let work = move |disk: DiskClient| -> LocalFuture<Result<(), IdentityError>> {
        Box::pin(async move { holon_metadata::save(&disk, &identity).await })
    };
    let written = holon_edge::run_on_disk(data, pool, clock, work);
    let path = data.path().display();
    written.ok_or(format!("{path}: the disk does not answer"))?.map_err(|error| format!("{path}: {error}"))
}

/// Asks the named members until one lets this node in.
async fn join(settings: &Settings, identity: &Identity) -> Result<(Option<NodeIdentity>, Cluster), String> {
    let token = match (settings.token.as_str(), settings.insecure) {
        (_, true) => None,
        ("", false) => {
            let way = "type `holon token` at a member, or join with --insecure if the cluster runs so";
            return Err(format!("{} needs {}: {way}", flag("join"), flag("token")));
        }
        (text, false) => Some(JoinToken::decode(text).map_err(|error| format!("{}: {error}", flag("token")))?),
    };
    let options = crate::node::node_options(settings, identity);
    let record = options.record(identity.node, settings.shards);
    let details = JoinRequest { record, replaces: settings.replace.clone() }.encode();
    let key = NodeKey::create().map_err(|error| error.to_string())?;
    let (trust, asked) = match &token {
        Some(token) => (Trust::Authority(token.authority), Asked::new(token, identity.node, &key, details)),
        None => {
            let public_key = key.public_key();
            (Trust::Anyone, Asked { token: 0, secret: [0; 16], node: identity.node, public_key, details })
        }
    };
    let reply = ask_any(&settings.join, trust, &asked).await?;
    let unreadable = |error: &dyn std::fmt::Display| format!("the member's answer cannot be read: {error}");
    let (own, details) = match &token {
        Some(token) => {
            let grant = JoinGrant::decode(reply).map_err(|error| unreadable(&error))?;
            let own = grant.accept(token, identity.node, key).map_err(|error| error.to_string())?;
            (Some(own), grant.details.clone())
        }
        None => (None, reply),
    };
    let cluster = Cluster::decode(&mut ByteReader::new(details)).map_err(|error| unreadable(&error))?;
    Ok((own, cluster))
}

async fn ask_any(members: &[String], trust: Trust, asked: &Asked) -> Result<Bytes, String> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let mut failure = String::new();
        for member in members {
            let resolved: Vec<SocketAddr> = match member.to_socket_addrs() {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    failure = format!("{member}: {error}");
                    continue;
                }
            };
            for address in resolved {
                match ask(address, trust, asked.encode(), JOIN_TIMEOUT).await {
                    Ok(reply) => return Ok(reply),
                    Err(AskError::Refused { reason, .. }) if reason.starts_with(FINAL) => {
                        return Err(format!("{member}: {reason}"));
                    }
                    Err(error) => failure = error.to_string(),
                }
            }
        }
        if began.elapsed() >= JOIN_PATIENCE {
            return Err(format!("no member let this node in for {} s: {failure}", JOIN_PATIENCE.as_secs()));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("{failure}; asking for {} s", JOIN_PATIENCE.as_secs());
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

impl Membership {
    fn new(
        identity: &Identity,
        own: Option<NodeIdentity>,
        address: SocketAddr,
        door: IpAddr,
    ) -> Result<Membership, String> {
        let cluster = identity.cluster.as_ref().map_or_else(OnceLock::new, |cluster| OnceLock::from(cluster.id));
        let security = match &own {
            None => Security::Insecure,
            Some(own) => {
                let tls = PeersTls::new(own).map_err(|error| error.to_string())?;
                Security::Tls(Arc::new(OnceLock::from(tls)))
            }
        };
        let (identity_of, own) = ((cluster.get().copied().unwrap_or(0), identity.node), own.map(Arc::new));
        let (tokens, first) = (Arc::<Tokens>::default(), Arc::<OnceLock<ShardHandle>>::default());
        let requests = handler(identity_of, own.clone(), tokens.clone(), first.clone());
        let peers = Peers::new(PeersOptions {
            node: identity.node,
            cluster: Arc::new(cluster),
            address,
            source: Some(door),
            requests: Arc::new(OnceLock::from(requests)),
            report: Arc::new(|line| tracing::warn!("peers: {line}")),
            security,
            timeouts: PeerTimeouts::default(),
        });
        Ok(Membership { peers, identity: own, address, tokens, first })
    }

    /// From now on others may join by way of this node.
    pub fn let_others_in(&self, shard: ShardHandle) {
        let _ = self.first.set(shard); // set once: a node starts once
    }

    /// A member whose address is another one than the cluster knows tells the others, where it knows them. If they have moved, too,
    /// whoever started this node may have said where one of them is; and where one was another may be now, for addresses that are
    /// given out are given out again. Asks there who it is until the cluster knows this node as it is.
    pub async fn look_for_others(&self, named: Vec<String>, cluster: u128, shard: ShardHandle) {
        let mut pause = JOIN_PAUSE;
        loop {
            let known = |_| -> LocalFuture<Option<Vec<SocketAddr>>> {
                // Not even the log is read yet: later.
                let early = || Some(Vec::new());
                Box::pin(async move { crate::node::metadata().map_or_else(early, |metadata| metadata.where_to_look()) })
            };
            // `None`: nothing to look for (any more); not at all: the node stops.
            let Ok(Some(addresses)) = shard.run(Class::Foreground, known).await else { return };
            let resolved = named.iter().flat_map(|name| name.to_socket_addrs().into_iter().flatten());
            for address in resolved.chain(addresses).filter(|at| *at != self.address) {
                match self.ask_who(address, cluster).await {
                    Ok(node) => {
                        let told = move |_| -> LocalFuture<()> {
                            Box::pin(async move {
                                if let Some(metadata) = crate::node::metadata() {
                                    metadata.meet(node, address);
                                }
                            })
                        };
                        // If the node stops, the next look ends this.
                        let _ = shard.run(Class::Foreground, told).await;
                    }
                    Err(reason) => tracing::debug!("looking for the others: {reason}"),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }

    async fn ask_who(&self, address: SocketAddr, cluster: u128) -> Result<NodeId, String> {
        let trust = match &self.identity {
            Some(identity) => Trust::Authority(identity.authority().fingerprint()),
            None => Trust::Anyone,
        };
        let reply =
            ask(address, trust, Bytes::from_static(WHO), WHO_TIMEOUT).await.map_err(|error| error.to_string())?;
        decode_who(reply, cluster).map_err(|wrong| format!("{address}: {wrong}"))
    }

    /// The command that makes another machine a member.
    ///
    /// # Errors
    /// `--insecure`, or too many.
    pub fn token(&self, ttl: Duration) -> Result<String, String> {
        let Some(identity) = &self.identity else {
            let line = format!("holon start --join {} --insecure", self.address);
            return Err(format!("this node runs with --insecure, so others join without a token: {line}"));
        };
        let random = holon_edge::random_u128().map_err(|error| error.to_string())? as u64;
        let token = JoinToken::create(identity.authority(), random).map_err(|error| error.to_string())?;
        self.tokens.add(random, token.secret_digest(), ttl)?;
        let valid = format!("# for one node, within {} minutes, while this node runs", ttl.as_secs().div_ceil(60));
        Ok(format!("holon start --join {} --token {}\n{valid}", self.address, token.encode()))
    }
}

/// Answers requests of the door for peers: who this node is at once, who wants in when it has started.
fn handler(
    (cluster, node): (u128, NodeId),
    identity: Option<Arc<NodeIdentity>>,
    tokens: Arc<Tokens>,
    first: Arc<OnceLock<ShardHandle>>,
) -> RequestHandler {
    Arc::new(move |bytes| {
        let (identity, tokens, first) = (identity.clone(), tokens.clone(), first.get().cloned());
        Box::pin(async move {
            if bytes == WHO {
                let mut who = ByteWriter::new();
                who.put_u128(cluster);
                who.put_u128(node.0);
                return Ok(who.freeze());
            }
            let first = first.ok_or("it is starting and lets nobody in yet")?;
            answer(bytes, identity, &tokens, first).await
        })
    })
}

/// Who answered: a member of this cluster.
fn decode_who(reply: Bytes, cluster: u128) -> Result<NodeId, String> {
    let mut input = ByteReader::new(reply);
    let mut read = || Ok::<_, holon_base::ShortInput>((input.u128()?, NodeId(input.u128()?)));
    match read() {
        Ok((theirs, node)) if theirs == cluster => Ok(node),
        Ok(_) => Err("that node belongs to another cluster".to_string()),
        Err(short) => Err(format!("its answer cannot be read ({short}): it is of another version")),
    }
}

async fn answer(
    bytes: Bytes,
    identity: Option<Arc<NodeIdentity>>,
    tokens: &Tokens,
    shard: ShardHandle,
) -> Result<Bytes, String> {
    let refused = |reason: String| format!("{FINAL}{reason}");
    let asked = Asked::decode(bytes).map_err(|error| refused(error.to_string()))?;
    let named = JoinRequest::decode(asked.details.clone()).map(|request| request.record.node);
    if named.map_err(|error| refused(error.to_string()))? != asked.node {
        return Err(refused("it names itself in two ways".to_string()));
    }
    let again = match identity {
        Some(_) => tokens.take(&asked).map_err(refused)?,
        None => true,
    };
    let (node, details) = (asked.node, asked.details.clone());
    let admitted = shard.run(Class::Foreground, move |_| {
        Box::pin(async move {
            let Some(metadata) = crate::node::metadata() else { return Err("this node is stopping".to_string()) };
            if !again && metadata.is_member(node) {
                return Err(format!("{FINAL}{node} is a member already; choose an empty --data-dir"));
            }
            let request = JoinRequest::decode(details).map_err(|error| format!("{FINAL}{error}"))?;
            metadata.admit(request).await.map_err(|error| match error {
                AdmitError::Unreadable(_) | AdmitError::NoSuchNode(_) | AdmitError::Refused(_) => {
                    format!("{FINAL}{error}")
                }
                AdmitError::Unknown | AdmitError::StillAlive(_) | AdmitError::AddressTaken { .. } => error.to_string(),
            })
        })
    });
    let cluster = admitted.await.map_err(|gone| gone.to_string())??;
    let mut details = ByteWriter::new();
    cluster.encode(&mut details);
    match identity {
        None => Ok(details.freeze()),
        Some(identity) => {
            let grant = JoinGrant::new(identity.authority(), &asked, details.freeze());
            Ok(grant.map_err(|error| error.to_string())?.encode())
        }
    }
}

/// What the cluster is told of this node, apart from its cluster.
pub fn options_of(settings: &Settings, identity: &Identity, facts: Vec<(String, String)>) -> NodeOptions {
    let cluster = identity.cluster.clone().unwrap_or_else(|| Cluster::founded_by(identity.node, identity.node.0));
    NodeOptions {
        address: settings.advertised(settings.peer_address),
        data_center: settings.data_center.clone(),
        rack: settings.rack.clone(),
        facts,
        ..NodeOptions::member(identity.boot, cluster)
    }
}

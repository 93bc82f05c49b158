//! Accounts: names with hashes of passwords, as entries of the metadata log.
//!
//! There is no account and no password to begin with: `holon user create` makes them, through the node's own command
//! channel, and so do the statements for roles once an account exists. What an account may do is not told apart yet:
//! whoever has logged in may do everything.

use super::bcrypt;
use crate::error::{CqlError, CqlResult};
use crate::limits::CREDENTIAL_BYTES_MAX;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kernel::{Pool, Shard};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// First byte of the entries of accounts in the metadata log; the entries of the schema begin with another.
pub const ACCOUNT_ENTRY_TAG: u8 = 0xA0;

/// The format of [`AccountChange::encode`].
const ACCOUNT_ENTRY_VERSION: u8 = 1;

/// Logins of a shard whose hashes are computed side by side; the others wait in line. More would only slow down each.
const LOGINS_AT_ONCE: usize = 2;

/// A hash of a password nobody has: unknown names take as long as known ones.
const HASH_OF_NOBODY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// An entry of the metadata log.
#[derive(Clone, PartialEq, Eq)]
pub enum AccountChange {
    Create { name: String, hash: String },
    SetPassword { name: String, hash: String },
    Drop { name: String },
}

impl AccountChange {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(ACCOUNT_ENTRY_TAG);
        out.put_u8(ACCOUNT_ENTRY_VERSION);
        let (kind, name, hash) = match self {
            AccountChange::Create { name, hash } => (1, name, hash.as_str()),
            AccountChange::SetPassword { name, hash } => (2, name, hash.as_str()),
            AccountChange::Drop { name } => (3, name, ""),
        };
        out.put_u8(kind);
        out.put_prefixed(name.as_bytes());
        out.put_prefixed(hash.as_bytes());
        out.freeze()
    }

    /// Reads an entry after its tag; `None` for a version or kind that is not known here.
    fn decode(entry: &Bytes) -> Result<Option<AccountChange>, ShortInput> {
        let mut input = ByteReader::new(entry.clone());
        let (_tag, version, kind) = (input.u8()?, input.u8()?, input.u8()?);
        let (name, hash) = (input.prefixed_str()?, input.prefixed_str()?);
        input.end()?;
        Ok(match (version, kind) {
            (ACCOUNT_ENTRY_VERSION, 1) => Some(AccountChange::Create { name, hash }),
            (ACCOUNT_ENTRY_VERSION, 2) => Some(AccountChange::SetPassword { name, hash }),
            (ACCOUNT_ENTRY_VERSION, 3) => Some(AccountChange::Drop { name }),
            _ => None,
        })
    }
}

/// All accounts, on one shard.
pub struct Accounts {
    hashes: RefCell<BTreeMap<String, Rc<str>>>,
    logins: Pool,
}

impl Accounts {
    pub fn new(shard: &Shard) -> Accounts {
        Accounts { hashes: RefCell::default(), logins: shard.pool("logins", LOGINS_AT_ONCE) }
    }

    /// Applies an entry of the metadata log. The answer is text for whoever ran the command.
    pub fn apply(&self, entry: &Bytes) -> Result<Bytes, Bytes> {
        let refused = |text: String| Err(CqlError::Invalid(text).encode());
        let change = match AccountChange::decode(entry) {
            Ok(Some(change)) => change,
            Ok(None) => return refused("an account entry of a newer format: upgrade this node".to_string()),
            Err(short) => return refused(format!("an account entry that cannot be read: {short}")),
        };
        let mut hashes = self.hashes.borrow_mut();
        match change {
            AccountChange::Create { name, .. } if hashes.contains_key(&name) => {
                refused(format!("account {name} already exists"))
            }
            AccountChange::Create { name, hash } => {
                hashes.insert(name, hash.into());
                Ok(Bytes::new())
            }
            AccountChange::SetPassword { name, hash } => match hashes.get_mut(&name) {
                Some(place) => {
                    *place = hash.into();
                    Ok(Bytes::new())
                }
                None => refused(format!("account {name} doesn't exist")),
            },
            AccountChange::Drop { name } => match hashes.remove(&name) {
                Some(_) => Ok(Bytes::new()),
                None => refused(format!("account {name} doesn't exist")),
            },
        }
    }

    /// For a snapshot of the metadata log: `version:u8 count (name hash)*`.
    pub fn encode(&self) -> Bytes {
        let hashes = self.hashes.borrow();
        let mut out = ByteWriter::new();
        out.put_u8(ACCOUNT_ENTRY_VERSION);
        out.put_varint(hashes.len() as u64);
        for (name, hash) in hashes.iter() {
            out.put_prefixed(name.as_bytes());
            out.put_prefixed(hash.as_bytes());
        }
        out.freeze()
    }

    /// Replaces all accounts by those of a snapshot.
    pub fn restore(&self, snapshot: &Bytes) -> Result<(), ShortInput> {
        let mut input = ByteReader::new(snapshot.clone());
        if input.u8()? != ACCOUNT_ENTRY_VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let mut hashes = BTreeMap::new();
        for _ in 0..input.count()? {
            hashes.insert(input.prefixed_str()?, input.prefixed_str()?.into());
        }
        input.end()?;
        *self.hashes.borrow_mut() = hashes;
        Ok(())
    }

    /// Names with the hashes of their passwords.
    pub fn hashes(&self) -> Vec<(String, String)> {
        self.hashes.borrow().iter().map(|(name, hash)| (name.clone(), hash.to_string())).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.hashes.borrow().keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.borrow().is_empty()
    }

    /// Checks a name and its password. Waits in line, computes in slices.
    pub async fn log_in(&self, shard: &Shard, name: &str, password: &str) -> CqlResult<()> {
        if name.len().max(password.len()) > CREDENTIAL_BYTES_MAX {
            let text = format!("name and password may have {CREDENTIAL_BYTES_MAX} bytes each");
            return Err(CqlError::BadCredentials(text));
        }
        let hash = self.hashes.borrow().get(name).cloned();
        let _turn = self.logins.acquire(1).await;
        let fits = bcrypt::verify(shard, password.as_bytes(), hash.as_deref().unwrap_or(HASH_OF_NOBODY)).await;
        if fits && hash.is_some() {
            return Ok(());
        }
        // The same for a wrong name and a wrong password, as Cassandra says it.
        Err(CqlError::BadCredentials(format!("Provided username {name} and/or password are incorrect")))
    }

    /// The entry that makes an account, or gives it another password.
    pub async fn change(&self, shard: &Shard, name: &str, password: &str, create: bool) -> CqlResult<AccountChange> {
        if name.is_empty() || name.len() > CREDENTIAL_BYTES_MAX {
            return Err(CqlError::Invalid(format!("a name of an account has 1 to {CREDENTIAL_BYTES_MAX} bytes")));
        }
        if password.is_empty() || password.len() > 72 {
            return Err(CqlError::invalid("a password has 1 to 72 bytes (bcrypt looks at no more)"));
        }
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&shard.random_u64().to_be_bytes());
        salt[8..].copy_from_slice(&(shard.random_u64() ^ shard.wall_micros().cast_unsigned()).to_be_bytes());
        let hash = bcrypt::hash(shard, password.as_bytes(), bcrypt::COST_DEFAULT, salt).await;
        let name = name.to_string();
        Ok(if create { AccountChange::Create { name, hash } } else { AccountChange::SetPassword { name, hash } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    #[test]
    fn accounts_follow_the_log() {
        let test = TestShard::new(MemoryDisk::new());
        let accounts = Rc::new(Accounts::new(&test.shard));
        let create = AccountChange::Create { name: "ada".into(), hash: HASH_OF_NOBODY.into() }.encode();
        assert_eq!(accounts.apply(&create), Ok(Bytes::new()));
        let again = accounts.apply(&create).expect_err("exists");
        assert_eq!(CqlError::decode(&again), CqlError::invalid("account ada already exists"));
        assert_eq!(accounts.names(), ["ada"]);
        for cut in 0..create.len() {
            assert!(accounts.apply(&create.slice(..cut)).is_err(), "cut at {cut}");
        }
        let drop = AccountChange::Drop { name: "ada".into() }.encode();
        assert_eq!(accounts.apply(&drop), Ok(Bytes::new()));
        assert!(accounts.apply(&drop).is_err());
        assert!(accounts.is_empty());
        // A snapshot stands for all of it.
        let again = Accounts::new(&test.shard);
        again.apply(&AccountChange::Create { name: "eve".into(), hash: HASH_OF_NOBODY.into() }.encode()).expect("made");
        again.restore(&accounts.encode()).expect("its own bytes");
        assert_eq!(again.names(), accounts.names());
        assert_eq!(again.encode(), accounts.encode());
        assert!(again.restore(&Bytes::from_static(b"\x09")).is_err());
        assert_eq!(again.names(), accounts.names());
    }

    #[test]
    fn the_right_password_logs_in_and_no_other() {
        let test = TestShard::new(MemoryDisk::new());
        let (shard, accounts) = (test.shard.clone(), Rc::new(Accounts::new(&test.shard)));
        test.block_on(async move {
            let change = accounts.change(&shard, "ada", "löve", true).await.expect("made");
            assert_eq!(accounts.apply(&change.encode()), Ok(Bytes::new()));
            assert_eq!(accounts.log_in(&shard, "ada", "löve").await, Ok(()));
            for (name, password) in [("ada", "love"), ("bob", "löve"), ("", ""), ("ada", "")] {
                let refused = accounts.log_in(&shard, name, password).await.expect_err("wrong");
                assert!(matches!(refused, CqlError::BadCredentials(_)), "{refused}");
            }
            assert!(accounts.change(&shard, "ada", "", true).await.is_err());
            assert!(accounts.log_in(&shard, &"x".repeat(2000), "y").await.is_err());
        });
    }
}

//! Password hashes (bcrypt: Provos, Mazières 1999), computed in slices.
//!
//! A hash of cost 10 is 2,048 key expansions, tens of milliseconds. It runs as a background task of the shard and gives
//! up its turn every few expansions, so that a login, or a thousand of them, never holds up a request by more than a
//! slice. It is not for anything but passwords of accounts.

use blowfish::Blowfish;
use holon_kernel::Shard;

/// The logarithm of the rounds of new hashes: Cassandra's `auth_bcrypt_gensalt_log2_rounds`.
pub const COST_DEFAULT: u32 = 10;

/// Hashes with a higher cost are refused rather than computed: 2¹⁶ rounds are seconds of a core.
const COST_MAX: u32 = 16;
const COST_MIN: u32 = 4;

/// Rounds (two key expansions each, about 50 µs together) between two yields.
const ROUNDS_PER_SLICE: u32 = 4;

/// bcrypt looks at so many bytes of a password, its closing zero among them.
const PASSWORD_BYTES_MAX: usize = 72;

const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 23;
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// `OrpheanBeholderScryDoubt`, the text that is encrypted.
const MAGIC: [u32; 6] = [0x4f72_7068, 0x6561_6e42, 0x6568_6f6c, 0x6465_7253, 0x6372_7944, 0x6f75_6274];

/// The hash of a password as text: `$2b$10$` and 53 characters. The salt needs to be unique, not secret.
pub async fn hash(shard: &Shard, password: &[u8], cost: u32, salt: [u8; SALT_BYTES]) -> String {
    let digest = digest(shard, password, cost.clamp(COST_MIN, COST_MAX), salt).await;
    format!("$2b${:02}${}{}", cost.clamp(COST_MIN, COST_MAX), encode(&salt), encode(&digest))
}

/// True if the hash is one of this password. A hash that cannot be read belongs to no password.
pub async fn verify(shard: &Shard, password: &[u8], hash: &str) -> bool {
    let Some((cost, salt, expected)) = parse(hash) else { return false };
    let found = digest(shard, password, cost, salt).await;
    // The time of the comparison tells nothing about where the two differ.
    found.iter().zip(expected).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// True if text has the form of a hash that [`verify`] can check.
pub fn is_hash(text: &str) -> bool {
    parse(text).is_some()
}

async fn digest(shard: &Shard, password: &[u8], cost: u32, salt: [u8; SALT_BYTES]) -> [u8; DIGEST_BYTES] {
    let mut key = [0; PASSWORD_BYTES_MAX];
    let length = password.len().min(PASSWORD_BYTES_MAX);
    key[..length].copy_from_slice(&password[..length]);
    // The closing zero belongs to the key where it fits.
    let key = &key[..(length + 1).min(PASSWORD_BYTES_MAX)];
    let mut state = Blowfish::bc_init_state();
    state.salted_expand_key(&salt, key);
    for round in 0..1u32 << cost {
        if round % ROUNDS_PER_SLICE == 0 {
            shard.yield_now().await;
        }
        state.bc_expand_key(key);
        state.bc_expand_key(&salt);
    }
    let mut digest = [0; 24];
    for (pair, out) in MAGIC.chunks_exact(2).zip(digest.chunks_exact_mut(8)) {
        let mut block = [pair[0], pair[1]];
        for _ in 0..64 {
            block = state.bc_encrypt(block);
        }
        out[..4].copy_from_slice(&block[0].to_be_bytes());
        out[4..].copy_from_slice(&block[1].to_be_bytes());
    }
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&digest[..DIGEST_BYTES]);
    short
}

fn parse(hash: &str) -> Option<(u32, [u8; SALT_BYTES], [u8; DIGEST_BYTES])> {
    let mut parts = hash.strip_prefix('$')?.split('$');
    let (version, cost, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !matches!(version, "2a" | "2b" | "2y") || cost.len() != 2 || rest.len() != 53 {
        return None;
    }
    let cost = cost.parse().ok().filter(|cost| (COST_MIN..=COST_MAX).contains(cost))?;
    let (salt, digest) = rest.split_at_checked(22)?;
    let mut found = (cost, [0; SALT_BYTES], [0; DIGEST_BYTES]);
    found.1.copy_from_slice(decode(salt)?.get(..SALT_BYTES)?);
    found.2.copy_from_slice(decode(digest)?.get(..DIGEST_BYTES)?);
    Some(found)
}

/// Base 64 with bcrypt's own alphabet, without padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0u32, |bits, (index, &byte)| bits | u32::from(byte) << (16 - 8 * index));
        for index in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * index)) as usize & 63]));
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for (index, character) in chunk.iter().enumerate() {
            let value = ALPHABET.iter().position(|known| known == character)? as u32;
            bits |= value << (18 - 6 * index);
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len().max(1)]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    #[test]
    fn hashes_are_those_of_another_implementation() {
        let test = TestShard::new(MemoryDisk::new());
        let long = "x".repeat(100);
        for password in ["", "secret", "Pässwörter sind länger", long.as_str()] {
            let salt = *b"0123456789abcdef";
            let (shard, text) = (test.shard.clone(), password.to_string());
            let ours = test.block_on(async move { hash(&shard, text.as_bytes(), 4, salt).await });
            let theirs = bcrypt::hash_with_salt(password, 4, salt).expect("hashes");
            assert_eq!(ours, theirs.format_for_version(bcrypt::Version::TwoB), "{password}");
        }
    }

    #[test]
    fn only_the_right_password_fits() {
        let test = TestShard::new(MemoryDisk::new());
        let shard = test.shard.clone();
        test.block_on(async move {
            let hash = hash(&shard, b"secret", 4, *b"fedcba9876543210").await;
            assert!(is_hash(&hash));
            assert!(verify(&shard, b"secret", &hash).await);
            for wrong in ["", "Secret", "secret ", "secre"] {
                assert!(!verify(&shard, wrong.as_bytes(), &hash).await, "{wrong}");
            }
            for broken in ["", "secret", "$2b$", "$2b$99$", &hash[..50], &hash.replace("$04$", "$31$")] {
                assert!(!verify(&shard, b"secret", broken).await, "{broken}");
            }
        });
    }

    #[test]
    fn a_hash_gives_up_its_turn_many_times() {
        let test = TestShard::new(MemoryDisk::new());
        let shard = test.shard.clone();
        let before = test.shard.polls();
        test.block_on(async move { hash(&shard, b"secret", 6, [7; 16]).await });
        assert!(test.shard.polls() - before >= u64::from((1u32 << 6) / ROUNDS_PER_SLICE), "{}", test.shard.polls());
    }
}

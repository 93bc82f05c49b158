//! The content of files on a simulated disk, and what changes it.

use holon_base::Random;

/// What a medium writes or loses as a whole, bytes.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A change of content that is visible but not synced.
#[derive(Clone, Debug)]
pub(crate) enum Unsynced {
    Write { offset: usize, content: Vec<u8> },
    Length(usize),
}

pub(crate) fn apply(content: &mut Vec<u8>, change: &Unsynced) {
    match change {
        Unsynced::Length(length) => content.resize(*length, 0),
        Unsynced::Write { offset, content: new } => {
            let end = offset + new.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(new);
        }
    }
}

/// Applies a random part: each sector of a write on its own; a length or not.
pub(crate) fn apply_torn(content: &mut Vec<u8>, change: &Unsynced, random: &mut Random) {
    match change {
        Unsynced::Length(length) => {
            if random.chance(1, 2) {
                content.resize(*length, 0);
            }
        }
        Unsynced::Write { offset, content: new } => {
            let mut at = 0;
            while at < new.len() {
                let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                let end = sector_end.min(new.len());
                if random.chance(1, 2) {
                    let piece = Unsynced::Write { offset: offset + at, content: new[at..end].to_vec() };
                    apply(content, &piece);
                }
                at = end;
            }
        }
    }
}

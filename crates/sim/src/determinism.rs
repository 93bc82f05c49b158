//! Catches dependencies that read a clock or draw randomness behind the simulator's back.
//!
//! The C library's `clock_gettime` and `getrandom` are replaced in this program. While a thread holds a [`Guard`] they abort,
//! after naming themselves; otherwise they pass the call on (through `rustix`, which does not use the C library).

#![allow(unsafe_code)] // the replaced functions have C signatures and write through the caller's pointers

use rustix::time::ClockId;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};

thread_local! {
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, its thread may not read a clock or draw randomness.
pub struct Guard(());

impl Guard {
    pub fn new() -> Guard {
        SIMULATING.with(|flag| flag.set(true));
        Guard(())
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SIMULATING.with(|flag| flag.set(false));
    }
}

fn forbid(what: &str) {
    if SIMULATING.try_with(Cell::get).unwrap_or(false) && !std::thread::panicking() {
        SIMULATING.with(|flag| flag.set(false));
        eprintln!("the simulation called {what}: {}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }
}

/// The layout of `struct timespec` on 64-bit Linux.
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Replaces the C library's.
///
/// # Safety
/// `time` points to a `struct timespec` that may be written, as the C library demands of its callers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    forbid("clock_gettime");
    let clock = match clock {
        0 => ClockId::Realtime,
        2 => ClockId::ProcessCPUTime,
        3 => ClockId::ThreadCPUTime,
        7 => ClockId::Boottime,
        _ => ClockId::Monotonic,
    };
    let now = rustix::time::clock_gettime(clock);
    // SAFETY: see above.
    unsafe { time.write(Timespec { seconds: now.tv_sec, nanoseconds: now.tv_nsec }) };
    0
}

/// Replaces the C library's.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written, as the C library demands of its callers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    forbid("getrandom");
    // SAFETY: see above; the bytes need no initialization to be written.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    match rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::from_bits_retain(flags)) {
        Ok(count) => count as isize,
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn outside_a_simulation_clocks_and_randomness_work() {
        let before = std::time::Instant::now();
        assert!(before.elapsed().as_secs() < 3600);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert!(wall.as_secs() > 1_600_000_000);
        // Seeded through getrandom.
        let state = std::hash::RandomState::new();
        assert_eq!(std::hash::BuildHasher::hash_one(&state, 1), std::hash::BuildHasher::hash_one(&state, 1));
    }
}

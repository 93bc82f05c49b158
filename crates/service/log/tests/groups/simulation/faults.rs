//! What goes wrong: members crash, sleep, hang, leave and come back; coordinators are lost.

use holon_log::groups::{Coordinator, Output};
use std::time::Duration;

use super::world::{Checked, Event, World, time};

impl World {
    pub fn fault(&mut self) -> Checked {
        let pause_ms = self.random.range(200, 6_000);
        self.after(pause_ms, Event::Fault);
        let index = self.random.below(self.clients.len() as u64) as usize;
        let now = self.now;
        match self.random.below(10) {
            0 | 1 if self.clients.iter().filter(|client| client.alive).count() < 10 => self.birth(),
            2 | 3 => self.clients[index].alive = false,
            4 if self.clients[index].alive => {
                let request = self.clients[index].leave();
                self.numbers += 1;
                let number = self.numbers;
                self.send(index, number, request);
            }
            5 | 6 => {
                let sleep_ms = self.random.range(1_000, 25_000);
                self.clients[index].sleeps_until = now + Duration::from_millis(sleep_ms);
            }
            7 => self.clients[index].will_hang = true,
            8 if self.coordinator.is_some() => self.fail_over()?,
            _ => {
                if self.clients[index].instance.is_some() && !self.clients[index].alive {
                    self.clients[index].restart();
                }
            }
        }
        Ok(())
    }

    /// The coordinator is lost. Of what was being written the log has some first part.
    pub fn fail_over(&mut self) -> Checked {
        self.summary.failovers += 1;
        let coordinator = self.coordinator.take();
        let survive = self.random.below(self.writes.len() as u64 + 1) as usize;
        for (_, records, durable) in std::mem::take(&mut self.writes).into_iter().take(survive) {
            if durable {
                self.append(records)?;
            }
        }
        if let Some(coordinator) = coordinator.filter(|_| self.random.chance(1, 2)) {
            let mut out = Output::default();
            coordinator.stop(&mut out);
            self.take(out, true)?;
            if !self.asked.is_empty() {
                return Err(format!("requests that are not answered at the end: {:?}", self.asked.len()));
            }
        }
        // Who has not synced is not in the log, as in Kafka: a member that only beats would now stay for ever.
        self.clients.iter_mut().filter(|client| client.hangs).for_each(|client| client.alive = false);
        self.asked.clear();
        self.incarnation += 1;
        let pause_ms = if self.random.chance(1, 2) { 1 } else { self.random.range(1, 9_000) };
        self.after(pause_ms, Event::Recover);
        Ok(())
    }

    pub fn recover(&mut self) -> Checked {
        if self.coordinator.is_some() {
            return Ok(());
        }
        let (from, snapshot) = self.snapshot.clone();
        let image = self.image(from, snapshot)?;
        if image.snapshot() != self.sum.snapshot() {
            return Err("a snapshot and the log after it are not the log".to_owned());
        }
        let mut out = Output::default();
        self.coordinator = Some(Coordinator::new(self.options.clone(), image, time(self.now), &mut out));
        self.checks.failed_over();
        self.last_written = self.now;
        self.take(out, false)
    }
}

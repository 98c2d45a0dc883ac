//! One direction between two machines, and the arithmetic of lateness.

use super::super::chance::Stream;
use super::trouble::{Troubles, time_on_the_wire};
use crate::limits;
use rand::Rng;
use std::time::Duration;

/// How the network behaves while nobody breaks it. Defaults: one rack, gigabit Ethernet.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// One way, between machines.
    pub latency_min: Duration,
    pub latency_max: Duration,
    /// Chance that a segment takes up to `tail_max` instead, 0 to 1.
    pub tail_chance: f64,
    pub tail_max: Duration,
    /// One way, from a machine to itself.
    pub loopback_min: Duration,
    pub loopback_max: Duration,
    pub bytes_per_second: u64,
    /// Unread and under way together, per direction of a connection.
    pub window_bytes: usize,
    /// The most that one write puts on the wire.
    pub segment_bytes_max: usize,
    /// After what time a lost segment is sent again; doubles with every try, up to `retransmit_max`.
    pub retransmit_first: Duration,
    pub retransmit_max: Duration,
    /// As the real host sets them: see [`limits`].
    pub keepalive_idle: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_probes: u32,
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig {
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_micros(500),
            tail_chance: 0.01,
            tail_max: Duration::from_millis(20),
            loopback_min: Duration::from_micros(20),
            loopback_max: Duration::from_micros(60),
            bytes_per_second: 125_000_000,
            window_bytes: 256 * 1024,
            segment_bytes_max: 64 * 1024,
            retransmit_first: Duration::from_millis(200),
            // Linux goes up to two minutes; simulated stories would only get longer by it.
            retransmit_max: Duration::from_secs(5),
            keepalive_idle: limits::KEEPALIVE_IDLE,
            keepalive_interval: limits::KEEPALIVE_INTERVAL,
            keepalive_probes: limits::KEEPALIVE_PROBES,
        }
    }
}

pub struct Link {
    chance: Stream,
    local: bool,
    pub troubles: Troubles,
    /// Until then earlier segments keep the wire busy.
    busy_until: Duration,
}

impl Link {
    pub fn new(chance: Stream, local: bool) -> Link {
        Link { chance, local, troubles: Troubles::default(), busy_until: Duration::ZERO }
    }

    /// When a segment sent at `now` arrives, if it does.
    pub fn arrival(&mut self, now: Duration, bytes: usize, config: &NetConfig) -> Duration {
        if self.local {
            return now + self.chance.random_range(config.loopback_min..=config.loopback_max);
        }
        let narrowed = self.troubles.bytes_per_second().unwrap_or(u64::MAX);
        let on_the_wire = time_on_the_wire(bytes, config.bytes_per_second.min(narrowed));
        self.busy_until = self.busy_until.max(now) + on_the_wire;
        let mut arrival = self.busy_until + self.latency(config) + self.troubles.slow_by();
        if let Some((chance, by)) = self.troubles.tail()
            && self.chance.random_bool(chance)
        {
            arrival += self.chance.random_range(Duration::ZERO..=by);
        }
        let loss = self.troubles.loss();
        if loss > 0.0 && self.chance.random_bool(loss) {
            arrival += config.retransmit_first;
        }
        arrival
    }

    fn latency(&mut self, config: &NetConfig) -> Duration {
        if config.tail_chance > 0.0 && self.chance.random_bool(config.tail_chance) {
            self.chance.random_range(config.latency_max..=config.tail_max.max(config.latency_max))
        } else {
            self.chance.random_range(config.latency_min..=config.latency_max)
        }
    }
}

/// When a segment that was lost at `lost` is sent again, given that all tries before `now` were lost too.
pub fn next_retransmission(lost: Duration, now: Duration, config: &NetConfig) -> Duration {
    let mut wait = config.retransmit_first.max(Duration::from_millis(1));
    let mut attempt = lost + wait;
    while attempt < now {
        wait = (wait * 2).min(config.retransmit_max.max(Duration::from_millis(1)));
        attempt += wait;
    }
    attempt
}

#[cfg(test)]
mod tests {
    use super::super::super::chance::stream;
    use super::super::trouble::Trouble;
    use super::*;

    #[test]
    fn latencies_stay_in_their_range_and_have_a_tail() {
        let config = NetConfig::default();
        let mut link = Link::new(stream(1, "net/an>dn1"), false);
        let taken: Vec<Duration> = (0..5_000).map(|_| link.arrival(Duration::ZERO, 0, &config)).collect();
        assert!(taken.iter().all(|one| (config.latency_min..=config.tail_max).contains(one)));
        let late = taken.iter().filter(|one| **one > config.latency_max).count();
        assert!((10..200).contains(&late), "{late} of 5,000 in the tail");
    }

    #[test]
    fn a_busy_wire_delays_what_comes_behind() {
        let config = NetConfig { tail_chance: 0.0, ..NetConfig::default() };
        let mut link = Link::new(stream(1, "net/an>dn1"), false);
        link.arrival(Duration::ZERO, 125_000_000, &config);
        assert!(link.arrival(Duration::ZERO, 1, &config) > Duration::from_secs(1));
    }

    #[test]
    fn a_narrowed_link_takes_its_time_and_is_as_wide_as_before_when_that_is_over() {
        let config = NetConfig { tail_chance: 0.0, ..NetConfig::default() };
        let mut link = Link::new(stream(1, "net/an>dn1"), false);
        link.troubles.add(1, Trouble::Narrow(100_000));
        assert!(link.arrival(Duration::ZERO, 50_000, &config) > Duration::from_millis(500));
        assert!(link.arrival(Duration::ZERO, 50_000, &config) > Duration::from_secs(1), "they queue");
        link.troubles.remove(1);
        let later = Duration::from_secs(10);
        assert!(link.arrival(later, 50_000, &config) < later + Duration::from_millis(2));
    }

    #[test]
    fn a_tail_delays_as_many_as_it_says() {
        let config = NetConfig { tail_chance: 0.0, ..NetConfig::default() };
        let mut link = Link::new(stream(1, "net/an>dn1"), false);
        let by = Duration::from_millis(300);
        link.troubles.add(1, Trouble::Tail { chance: 0.1, by });
        let taken: Vec<Duration> = (0..2_000).map(|_| link.arrival(Duration::ZERO, 0, &config)).collect();
        assert!(taken.iter().all(|one| *one <= config.latency_max + by));
        let late = taken.iter().filter(|one| **one > config.latency_max).count();
        assert!((120..280).contains(&late), "{late} of 2,000");
    }

    #[test]
    fn retransmissions_back_off() {
        let config = NetConfig::default();
        let after = |millis| next_retransmission(Duration::ZERO, Duration::from_millis(millis), &config).as_millis();
        assert_eq!([after(0), after(200), after(201), after(700), after(1_500)], [200, 200, 600, 1_400, 3_000]);
        // Beyond the limit every five seconds.
        assert_eq!([after(10_000), after(15_000), after(60_000)], [11_200, 16_200, 61_200]);
    }
}

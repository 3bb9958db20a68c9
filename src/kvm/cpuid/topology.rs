//! Where each CPU sits, and the APIC id that says so.
//!
//! An APIC id is the numbers of socket, die, core and thread side by side, each in a field wide enough for its count
//! rounded up to a power of two (Intel SDM volume 3, section 9.9.3). With counts that are no powers of two there are
//! gaps between the ids.

use crate::config::Smp;

/// The levels of a machine's CPUs, checked: every count is at least 1 and they multiply to the number of CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    sockets: u32,
    dies: u32,
    cores: u32,
    threads: u32,
}

/// A description of the CPUs that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "-smp: {sockets} sockets * {dies} dies * {cores} cores * {threads} threads do not make {max_cpus} CPUs \
     (1 to {limit}): give counts whose product is maxcpus",
    sockets = .0.sockets, dies = .0.dies, cores = .0.cores, threads = .0.threads, max_cpus = .0.max_cpus,
    limit = Smp::LIMIT
)]
pub struct TopologyError(Smp);

/// The place of one CPU; each number counts from 0 within the level above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Socket on the board.
    pub socket: u32,
    /// Die in the socket.
    pub die: u32,
    /// Core in the die.
    pub core: u32,
    /// Thread in the core.
    pub thread: u32,
}

impl Topology {
    /// The topology that `smp` describes.
    ///
    /// # Errors
    /// A count is zero, or the counts do not multiply to the number of CPUs.
    pub fn new(smp: &Smp) -> Result<Self, TopologyError> {
        let product = [smp.sockets, smp.dies, smp.cores, smp.threads]
            .into_iter()
            .try_fold(1u32, |product, count| product.checked_mul(count));
        if product != Some(smp.max_cpus) || !(1..=Smp::LIMIT).contains(&smp.max_cpus) {
            return Err(TopologyError(*smp));
        }
        Ok(Self { sockets: smp.sockets, dies: smp.dies, cores: smp.cores, threads: smp.threads })
    }

    /// Dies in a socket.
    #[must_use]
    pub fn dies(&self) -> u32 {
        self.dies
    }

    /// Cores in a die.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Threads in a core.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// CPUs on a die.
    #[must_use]
    pub fn cpus_per_die(&self) -> u32 {
        self.cores * self.threads
    }

    /// CPUs in a socket.
    #[must_use]
    pub fn cpus_per_socket(&self) -> u32 {
        self.dies * self.cpus_per_die()
    }

    /// How far to shift an APIC id right to get the number of the core.
    #[must_use]
    pub fn core_shift(&self) -> u32 {
        width(self.threads)
    }

    /// How far to shift an APIC id right to get the number of the die.
    #[must_use]
    pub fn die_shift(&self) -> u32 {
        self.core_shift() + width(self.cores)
    }

    /// How far to shift an APIC id right to get the number of the socket.
    #[must_use]
    pub fn socket_shift(&self) -> u32 {
        self.die_shift() + width(self.dies)
    }

    /// Where CPU number `index` sits: numbers run through the threads first, then the cores, dies and sockets.
    #[must_use]
    pub fn place(&self, index: u32) -> Place {
        Place {
            thread: index % self.threads,
            core: index / self.threads % self.cores,
            die: index / self.cpus_per_die() % self.dies,
            socket: index / self.cpus_per_socket(),
        }
    }

    /// The APIC id of CPU number `index` (below `max_cpus`).
    #[must_use]
    pub fn apic_id(&self, index: u32) -> u32 {
        let Place { socket, die, core, thread } = self.place(index);
        socket << self.socket_shift() | die << self.die_shift() | core << self.core_shift() | thread
    }

    /// One more than the highest APIC id. The local APICs need 32-bit ids when this is more than 255.
    #[must_use]
    pub fn apic_id_limit(&self) -> u32 {
        self.apic_id(self.sockets * self.cpus_per_socket() - 1) + 1
    }
}

/// Bits that number `count` things.
fn width(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(sockets: u32, dies: u32, cores: u32, threads: u32) -> Topology {
        let max_cpus = sockets * dies * cores * threads;
        Topology::new(&Smp { cpus: 1, max_cpus, sockets, dies, cores, threads }).unwrap()
    }

    #[test]
    fn apic_ids_leave_gaps_where_counts_are_no_powers_of_two() {
        // As QEMU 7.2 numbers -smp 12,sockets=2,cores=3,threads=2.
        let ids: Vec<u32> = (0..12).map(|index| topology(2, 1, 3, 2).apic_id(index)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        assert_eq!(topology(2, 1, 3, 2).apic_id_limit(), 14);
        // -smp 24,sockets=2,dies=2,cores=3,threads=2: the last CPU has id 1dh.
        assert_eq!(topology(2, 2, 3, 2).apic_id(23), 0x1d);
        assert_eq!(topology(2, 2, 3, 2).place(23), Place { socket: 1, die: 1, core: 2, thread: 1 });
    }

    #[test]
    fn one_cpu_needs_no_bits() {
        let single = topology(1, 1, 1, 1);
        assert_eq!((single.core_shift(), single.die_shift(), single.socket_shift()), (0, 0, 0));
        assert_eq!(single.apic_id_limit(), 1);
    }

    #[test]
    fn ids_pass_255() {
        assert_eq!(topology(64, 1, 5, 1).apic_id_limit(), 63 * 8 + 5);
    }

    #[test]
    fn contradictions_are_refused() {
        for (max_cpus, sockets, cores) in [(0, 0, 0), (4, 1, 3), (1, 0, 1), (0, u32::MAX, u32::MAX), (8192, 8192, 1)] {
            let smp = Smp { cpus: 1, max_cpus, sockets, dies: 1, cores, threads: 1 };
            assert!(Topology::new(&smp).is_err(), "{smp:?}");
        }
    }
}

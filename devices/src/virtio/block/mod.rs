//! A virtio block device (virtio 1.2, section 5.2), as QEMU's `virtio-blk-pci`.
//!
//! Emulated: reads, writes, flushes, discard and write-zeroes of one segment each, the serial number, any number of
//! queues, the write cache that the driver can switch, topology and geometry. Requests are carried out beside each other and
//! end in any order, as the specification allows.
//!
//! Not emulated: SCSI commands (a legacy feature, off in QEMU since 2016), secure erase, zoned storage, lifetime. These requests are
//! answered as unsupported.

mod registers;
mod request;

use serde::{Deserialize, Serialize};

use self::registers::{config, feature, status};
use self::request::{ID, MOST_SECTORS, Medium, Request};
use super::{Chain, ChainId, Driver, Kind, VirtioDevice, VirtioStorage};
use crate::backend::disk::{DiskPort, DiskPortState, Done, InFlight, Operation, Payload};
use crate::base::{GuestBuffer, Inspector, ResetKind, State, StateError};

/// Unit of addresses on a virtio disk, whatever its blocks.
pub const SECTOR: u64 = 512;

/// What a block device is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOptions {
    /// Number of request queues, at least 1.
    pub queues: u16,
    /// Entries of each: a power of two from 4.
    pub queue_size: u16,
    /// The number of segments that the driver is told follows from the size of a queue.
    pub seg_max_adjust: bool,
    /// Up to 20 bytes.
    pub serial: String,
    /// Bytes of a logical block: a power of two from 512.
    pub logical_block_size: u32,
    /// Bytes of a physical block: the same or a larger power of two.
    pub physical_block_size: u32,
    /// Bytes of the smallest transfer that is not slow; 0: not told.
    pub min_io_size: u32,
    /// Bytes of the best transfer; 0: not told.
    pub opt_io_size: u32,
    /// Cylinders, heads and sectors per track.
    pub geometry: (u16, u8, u8),
    /// The write cache is on after a reset.
    pub write_cache: bool,
    /// The driver can switch it.
    pub config_wce: bool,
    /// Blocks can be discarded.
    pub discard: bool,
    /// Bytes of the unit in which that is of use.
    pub discard_granularity: u32,
    /// Most sectors of one discard.
    pub max_discard_sectors: u32,
    /// Blocks can be made zeroes without data.
    pub write_zeroes: bool,
    /// Most sectors of one such request.
    pub max_write_zeroes_sectors: u32,
}

impl BlockOptions {
    /// Most sectors of any request.
    pub const MOST_SECTORS: u32 = MOST_SECTORS as u32;
}

/// QEMU's, for a disk without cylinders.
impl Default for BlockOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_size: 256,
            seg_max_adjust: true,
            serial: String::new(),
            logical_block_size: 512,
            physical_block_size: 512,
            min_io_size: 0,
            opt_io_size: 0,
            geometry: (0, 16, 63),
            write_cache: true,
            config_wce: true,
            discard: true,
            discard_granularity: 512,
            max_discard_sectors: Self::MOST_SECTORS,
            write_zeroes: true,
            max_write_zeroes_sectors: Self::MOST_SECTORS,
        }
    }
}

/// A request that the disk has.
#[derive(Debug)]
struct Pending {
    chain: ChainId,
    /// The byte for its status.
    status: GuestBuffer,
    /// Bytes of its room, with that one.
    room: u32,
}

/// The device.
pub struct VirtioBlock {
    options: BlockOptions,
    port: DiskPort,
    write_cache: bool,
    /// Bytes of the medium when the driver was last told of their number.
    bytes_told: Option<u64>,
    /// By the names that the port has given them.
    pending: InFlight<Pending>,
}

impl VirtioBlock {
    /// A device with this medium.
    #[must_use]
    pub fn new(port: DiskPort, options: BlockOptions) -> Self {
        let write_cache = options.write_cache;
        let bytes_told = port.len();
        Self { options, port, write_cache, bytes_told, pending: InFlight::default() }
    }

    /// The medium.
    #[must_use]
    pub fn port(&self) -> &DiskPort {
        &self.port
    }

    /// Whether writes are done before they would survive a loss of power. A driver that can neither flush nor switch the
    /// cache off does not know that there is one.
    fn is_write_through(&self, driver: &Driver) -> bool {
        !self.write_cache || !(driver.has(feature::CONFIG_WCE) || driver.has(feature::FLUSH))
    }

    fn begin(&mut self, chain: &Chain, driver: &mut Driver) {
        let medium = Medium {
            bytes: self.port.len().unwrap_or(0),
            read_only: self.port.is_read_only(),
            write_through: self.is_write_through(driver),
            options: &self.options,
        };
        let request = match Request::parse(chain, &medium) {
            Ok(request) => request,
            Err(why) => return driver.fail(format_args!("{why}")),
        };
        let last = chain.writable.len() - 1;
        let status = chain.writable.part(last, 1);
        let room = u32::try_from(chain.writable.len()).unwrap_or(u32::MAX);
        let pending = Pending { chain: chain.id, status, room };
        match request {
            Request::Submit { .. } if self.port.is_empty() => pending.end(status::IOERR, driver),
            Request::Submit { operation, offset, len, payload } => {
                let id = self.port.submit(operation, offset, len, payload);
                self.pending.insert(id, pending);
            }
            Request::Id(room) => {
                // Shorter ones end with a zero.
                let mut id = [0; ID];
                let serial = self.options.serial.as_bytes();
                let len = serial.len().min(ID);
                id[..len].copy_from_slice(&serial[..len]);
                room.fill_from(0, &id[..ID.min(len + 1)]);
                pending.end(status::OK, driver);
            }
            Request::Ended(status) => pending.end(status, driver),
        }
    }

    /// Ends the requests that the disk has done.
    fn take_completions(&mut self, driver: &mut Driver) {
        while let Some(Done { id, operation, result }) = self.port.completed() {
            let Some(pending) = self.pending.remove(id) else { continue };
            match (operation, result) {
                // There are no zeroes that survive at once: they are flushed.
                (Operation::WriteZeroes { .. }, Ok(_)) if self.is_write_through(driver) => {
                    let id = self.port.submit(Operation::Flush, 0, 0, Payload::None);
                    self.pending.insert(id, pending);
                }
                (_, Ok(_)) => pending.end(status::OK, driver),
                (_, Err(_)) => pending.end(status::IOERR, driver),
            }
        }
    }

    fn drain(&mut self, driver: &mut Driver) {
        while self.port.is_busy() {
            self.port.drain();
            self.take_completions(driver);
        }
    }
}

impl Pending {
    fn end(self, status: u8, driver: &mut Driver) {
        self.status.fill_from(0, &[status]);
        driver.complete(&self.chain, self.room);
    }
}

impl VirtioDevice for VirtioBlock {
    fn kind(&self) -> Kind {
        Kind { name: "virtio-blk-pci", id: 2, transitional_id: 0x1001, class: 0x01_0000 }
    }

    fn features(&self) -> u64 {
        let BlockOptions { queues, write_cache, config_wce, discard, write_zeroes, .. } = self.options;
        let optional = [
            (feature::RO, self.port.is_read_only()),
            (feature::FLUSH, write_cache || config_wce),
            (feature::CONFIG_WCE, config_wce),
            (feature::MQ, queues > 1),
            (feature::DISCARD, discard),
            (feature::WRITE_ZEROES, write_zeroes),
        ];
        let always = feature::SEG_MAX | feature::GEOMETRY | feature::BLK_SIZE | feature::TOPOLOGY;
        optional.iter().filter(|(_, on)| *on).fold(always, |features, (feature, _)| features | feature)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![self.options.queue_size; usize::from(self.options.queues)]
    }

    fn config(&self) -> Vec<u8> {
        let BlockOptions {
            queues,
            queue_size,
            seg_max_adjust,
            serial: _,
            logical_block_size,
            physical_block_size,
            min_io_size,
            opt_io_size,
            geometry: (cylinders, heads, sectors),
            write_cache: _,
            config_wce: _,
            discard,
            discard_granularity,
            max_discard_sectors,
            write_zeroes,
            max_write_zeroes_sectors,
        } = self.options;
        let len = match (discard, write_zeroes) {
            (_, true) => config::LEN_WRITE_ZEROES,
            (true, false) => config::LEN_DISCARD,
            (false, false) => config::LEN,
        };
        let mut structure = vec![0; config::LEN_WRITE_ZEROES];
        let mut put = |at: usize, value: u64, size: usize| {
            structure[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        };
        // Of a queue, two entries are for the header and the status. 128 is the size that queues once had.
        let seg_max = if seg_max_adjust { queue_size.saturating_sub(2) } else { 128 - 2 };
        let blocks = |bytes: u32| u64::from(bytes / logical_block_size);
        // Tracks of whole logical blocks.
        let sectors = u64::from(sectors) & !(u64::from(logical_block_size) / SECTOR - 1);
        put(config::CAPACITY, self.port.len().unwrap_or(0) / SECTOR, 8);
        put(config::SEG_MAX, seg_max.into(), 4);
        put(config::CYLINDERS, cylinders.into(), 2);
        put(config::HEADS, heads.into(), 1);
        put(config::SECTORS, sectors, 1);
        put(config::BLK_SIZE, logical_block_size.into(), 4);
        put(config::PHYSICAL_BLOCK_EXP, blocks(physical_block_size).checked_ilog2().unwrap_or(0).into(), 1);
        put(config::MIN_IO_SIZE, blocks(min_io_size), 2);
        put(config::OPT_IO_SIZE, blocks(opt_io_size), 4);
        put(config::WRITEBACK, self.write_cache.into(), 1);
        put(config::NUM_QUEUES, queues.into(), 2);
        if discard {
            put(config::MAX_DISCARD_SECTORS, max_discard_sectors.into(), 4);
            put(config::MAX_DISCARD_SEG, 1, 4);
            put(config::DISCARD_SECTOR_ALIGNMENT, u64::from(discard_granularity) / SECTOR, 4);
        }
        if write_zeroes {
            put(config::MAX_WRITE_ZEROES_SECTORS, max_write_zeroes_sectors.into(), 4);
            put(config::MAX_WRITE_ZEROES_SEG, 1, 4);
            put(config::WRITE_ZEROES_MAY_UNMAP, 1, 1);
        }
        structure.truncate(len);
        structure
    }

    fn config_written(&mut self, offset: usize, data: &[u8], driver: &mut Driver) {
        let writeback = config::WRITEBACK.checked_sub(offset).and_then(|at| data.get(at));
        if let Some(value) = writeback.filter(|_| driver.has(feature::CONFIG_WCE)) {
            self.write_cache = *value != 0;
        }
    }

    fn queue_notified(&mut self, queue: u16, driver: &mut Driver) {
        // No more chains are under way than the queue has entries: this ends.
        while let Some(chain) = driver.pop(queue) {
            self.begin(&chain, driver);
        }
        self.take_completions(driver);
    }

    fn queue_reset(&mut self, queue: u16, driver: &mut Driver) {
        self.drain(driver);
        // What is left waits for the machine to go on after an error.
        let port = &mut self.port;
        self.pending.retain(|id, pending| {
            let stays = pending.chain.queue != queue;
            if !stays {
                port.forget(id);
            }
            stays
        });
    }

    fn reset(&mut self, _kind: Option<ResetKind>) {
        self.port.cancel();
        self.pending.clear();
        self.write_cache = self.options.write_cache;
    }

    fn save(&self) -> State {
        let Self { options: _, port, write_cache, bytes_told: _, pending } = self;
        let pending = pending.iter().map(|(id, pending)| {
            let Pending { chain, status, room } = pending;
            state::Pending { id, chain: *chain, status: status.ranges().to_vec(), room: *room }
        });
        State::of(
            state::VERSION,
            &state::V1 { port: port.save(), write_cache: *write_cache, pending: pending.collect() },
        )
    }

    fn load(&mut self, state: &State, driver: &Driver) -> Result<(), StateError> {
        let state::V1 { port, write_cache, pending } = state.decode(state::VERSION)?;
        let invalid = |why: &str| StateError::invalid("pending", why);
        let most = usize::from(self.options.queues) * usize::from(self.options.queue_size);
        let requests = self.port.check(&port, most, driver.dma())?;
        if !requests.iter().map(|request| request.id).eq(pending.iter().map(|pending| pending.id)) {
            return Err(invalid("these are not the requests that the disk has"));
        }
        let restore = |saved: state::Pending| {
            let state::Pending { id, chain, status, room } = saved;
            if chain.queue >= self.options.queues {
                return Err(invalid("a chain is of a queue that is not there"));
            }
            let status = driver.dma().buffer_in_ram(status).map_err(|error| invalid(&error.to_string()))?;
            if status.len() != 1 {
                return Err(invalid("a status is a byte"));
            }
            Ok((id, Pending { chain, status, room }))
        };
        let pending = pending.into_iter().map(restore).collect::<Result<_, _>>()?;
        self.port.load(&port, requests);
        self.write_cache = write_cache;
        self.pending = pending;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.number("capacity", self.port.len().unwrap_or(0) / SECTOR);
        out.flag("write cache", self.write_cache);
        out.number("requests", self.pending.len() as u64);
    }
}

impl VirtioStorage for VirtioBlock {
    fn requests_completed(&mut self, driver: &mut Driver) {
        self.take_completions(driver);
    }

    fn resume_requests(&mut self, driver: &mut Driver) {
        self.port.resume();
        self.take_completions(driver);
    }

    /// The capacity is read from the configuration (virtio 1.2, section 5.2.5).
    fn medium_resized(&mut self, driver: &mut Driver) {
        let bytes = self.port.len();
        if std::mem::replace(&mut self.bytes_told, bytes) != bytes {
            driver.configuration_changed();
        }
    }

    fn drain_requests(&mut self, driver: &mut Driver) {
        self.drain(driver);
    }
}

mod state {
    use super::{ChainId, Deserialize, DiskPortState, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub port: DiskPortState,
        /// As the driver has switched it.
        pub write_cache: bool,
        /// In the order of their names.
        pub pending: Vec<Pending>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Pending {
        pub id: u64,
        pub chain: ChainId,
        /// Address and length of the byte for its status.
        pub status: Vec<(u64, u32)>,
        pub room: u32,
    }
}

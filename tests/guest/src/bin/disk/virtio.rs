//! A driver of virtio disks, as short as it can be (virtio 1.2, sections 2.7, 4.1 and 5.2).

use core::ptr;
use core::sync::atomic::{Ordering, fence};

use guest::memory::{self, PAGE};
use guest::pci::{self, Function, register};
use guest::{exit, println};

use super::{Places, SECTOR, Work, time};

const VENDOR: u16 = 0x1af4;
/// A disk for any driver, and one for those of virtio 1 only.
const DISKS: [u16; 2] = [0x1001, 0x1042];

/// The pointer to the list of capabilities, and the id of those of vendors.
const CAPABILITIES: u8 = 0x34;
const VENDOR_SPECIFIC: u8 = 9;
/// Memory Space and Bus Master Enable.
const COMMAND: u16 = 0x6;
/// Where a window goes that nobody has placed.
const WINDOW: u32 = 0xfd00_0000;

/// Structures that capabilities point at.
mod structure {
    pub const COMMON: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const DEVICE: u8 = 4;
}

/// Registers of the common structure.
mod common {
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURE: u64 = 0x0c;
    pub const STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub const QUEUE_DESC: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
}

const EVENT_IDX: u32 = 1 << 29;
/// In the upper half.
const VERSION_1: u32 = 1 << 0;

/// Entries of the queue; a request takes three.
const ENTRIES: u16 = 256;
/// Requests that can be under way.
pub const MOST_REQUESTS: u64 = ENTRIES as u64 / 3;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A driver's end of the one queue.
struct Queue {
    descriptors: u64,
    available: u64,
    used: u64,
    doorbell: u64,
    /// Entries made available and taken back.
    made: u16,
    taken: u16,
    /// Entries of which the device knows.
    told: u16,
}

fn read<T>(address: u64) -> T {
    // SAFETY: registers, or pages of this program's that only the device writes to meanwhile.
    unsafe { ptr::read_volatile(address as *const T) }
}

fn write<T>(address: u64, value: T) {
    // SAFETY: as above; the device gets no addresses but those of pages for it.
    unsafe { ptr::write_volatile(address as *mut T, value) }
}

fn pages(bytes: u64) -> u64 {
    match memory::allocate(bytes.div_ceil(PAGE)) {
        Some(pages) => pages.addr().get() as u64,
        None => fail("memory is short"),
    }
}

fn fail(why: &str) -> ! {
    println!("disk: {why}");
    exit::fail();
}

/// Makes `work` requests of the first virtio disk.
pub fn run(work: &Work) {
    let mut disk = None;
    pci::scan(0, &mut |function| {
        let is_disk = function.read16(register::VENDOR) == VENDOR && DISKS.contains(&function.read16(register::DEVICE));
        if is_disk && disk.is_none() {
            disk = Some(function);
        }
    });
    let Some(disk) = disk else { fail("there is no virtio disk") };
    let (mut queue, sectors) = set_up(&disk);
    let slots: [Slot; MOST_REQUESTS as usize] = core::array::from_fn(|_| Slot { header: 0, status: 0 });
    let mut slots = slots;
    for (slot, number) in slots.iter_mut().zip(0..work.depth) {
        *slot = Slot::new(&queue, number as u16, work);
    }
    let mut places = Places::new(work, sectors);
    time(work, || {
        let first = work.depth.min(work.count);
        for (slot, number) in slots.iter().zip(0..first) {
            slot.aim(places.next());
            queue.make_available(number as u16 * 3);
        }
        queue.tell();
        let (mut begun, mut done) = (first, 0);
        while done < work.count {
            let mut again = false;
            while let Some(head) = queue.take() {
                let slot = &slots[usize::from(head / 3)];
                if read::<u8>(slot.status) != 0 {
                    fail("a request has failed");
                }
                done += 1;
                if begun < work.count {
                    begun += 1;
                    slot.aim(places.next());
                    queue.make_available(head);
                    again = true;
                }
            }
            if again {
                queue.tell();
            }
            core::hint::spin_loop();
        }
    });
}

/// A request that is made again and again.
struct Slot {
    header: u64,
    status: u64,
}

impl Slot {
    /// The one of the descriptors from three times `number` on.
    fn new(queue: &Queue, number: u16, work: &Work) -> Self {
        let (header, data) = (pages(PAGE), pages(work.size));
        let status = header + 0x800;
        let direction = if work.write { 0 } else { WRITE };
        write::<u32>(header, work.write.into());
        for (index, address, len, flags) in
            [(0, header, 16, NEXT), (1, data, work.size as u32, NEXT | direction), (2, status, 1, WRITE)]
        {
            let index = number * 3 + index;
            let at = queue.descriptors + 16 * u64::from(index);
            write::<u64>(at, address);
            write::<u32>(at + 8, len);
            write::<u16>(at + 12, flags);
            write::<u16>(at + 14, index + 1);
        }
        Self { header, status }
    }

    /// It is for this sector the next time.
    fn aim(&self, sector: u64) {
        write::<u64>(self.header + 8, sector);
        write::<u8>(self.status, 0xff);
    }
}

/// Finds the structures, negotiates, and makes the queue. Gives the number of sectors, too.
fn set_up(disk: &Function) -> (Queue, u64) {
    let (common, _) = find(disk, structure::COMMON);
    let (notify, capability) = find(disk, structure::NOTIFY);
    let (device, _) = find(disk, structure::DEVICE);
    disk.write16(register::COMMAND, COMMAND);

    write::<u8>(common + common::STATUS, 0);
    write::<u8>(common + common::STATUS, 3);
    for (half, features) in [(0, EVENT_IDX), (1, VERSION_1)] {
        write::<u32>(common + common::DRIVER_FEATURE_SELECT, half);
        write::<u32>(common + common::DRIVER_FEATURE, features);
    }
    write::<u8>(common + common::STATUS, 0xb);
    if read::<u8>(common + common::STATUS) != 0xb {
        fail("the disk refuses virtio 1 with its event index");
    }

    let queue_pages = pages(3 * PAGE);
    let (descriptors, available, used) = (queue_pages, queue_pages + PAGE, queue_pages + 2 * PAGE);
    write::<u16>(common + common::QUEUE_SELECT, 0);
    write::<u16>(common + common::QUEUE_SIZE, ENTRIES);
    for (register, address) in
        [(common::QUEUE_DESC, descriptors), (common::QUEUE_DRIVER, available), (common::QUEUE_DEVICE, used)]
    {
        write::<u32>(common + register, address as u32);
        write::<u32>(common + register + 4, (address >> 32) as u32);
    }
    let multiplier = disk.read32(capability + 16);
    let doorbell = notify + u64::from(read::<u16>(common + common::QUEUE_NOTIFY_OFF)) * u64::from(multiplier);
    write::<u16>(common + common::QUEUE_ENABLE, 1);
    write::<u8>(common + common::STATUS, 0xf);
    // Interrupts are for a place that is never reached for long: it is the one before the first.
    write::<u16>(available + 4 + 2 * u64::from(ENTRIES), u16::MAX);
    let sectors = u64::from(read::<u32>(device)) | u64::from(read::<u32>(device + 4)) << 32;
    (Queue { descriptors, available, used, doorbell, made: 0, taken: 0, told: 0 }, sectors)
}

/// Where a structure is, and the capability that says so.
fn find(disk: &Function, wanted: u8) -> (u64, u8) {
    let mut capability = disk.read8(CAPABILITIES);
    while capability != 0 {
        if disk.read8(capability) == VENDOR_SPECIFIC && disk.read8(capability + 3) == wanted {
            let bar = register::BAR0 + 4 * disk.read8(capability + 4);
            return (window(disk, bar) + u64::from(disk.read32(capability + 8)), capability);
        }
        capability = disk.read8(capability + 1);
    }
    fail("the disk is not one of virtio 1")
}

/// The address of a window of 64 bits, which gets one if it has none.
fn window(disk: &Function, bar: u8) -> u64 {
    if disk.read32(bar) & !0xf == 0 && disk.read32(bar + 4) == 0 {
        disk.write32(bar, WINDOW);
    }
    let address = u64::from(disk.read32(bar) & !0xf) | u64::from(disk.read32(bar + 4)) << 32;
    if address >> 32 != 0 && memory::map(address, SECTOR).is_none() {
        fail("the disk's registers are too far up");
    }
    address
}

impl Queue {
    fn make_available(&mut self, head: u16) {
        write::<u16>(self.available + 4 + 2 * u64::from(self.made % ENTRIES), head);
        self.made = self.made.wrapping_add(1);
    }

    /// Shows the device what was made available, and rings if it wants that.
    fn tell(&mut self) {
        fence(Ordering::Release);
        write::<u16>(self.available + 2, self.made);
        fence(Ordering::SeqCst);
        let event: u16 = read(self.used + 4 + 8 * u64::from(ENTRIES));
        if self.made.wrapping_sub(event).wrapping_sub(1) < self.made.wrapping_sub(self.told) {
            write::<u16>(self.doorbell, 0);
        }
        self.told = self.made;
    }

    /// The first descriptor of a request that is done.
    fn take(&mut self) -> Option<u16> {
        if read::<u16>(self.used + 2) == self.taken {
            return None;
        }
        fence(Ordering::Acquire);
        let head: u32 = read(self.used + 4 + 8 * u64::from(self.taken % ENTRIES));
        self.taken = self.taken.wrapping_add(1);
        Some(head as u16)
    }
}

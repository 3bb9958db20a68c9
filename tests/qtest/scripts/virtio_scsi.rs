//! A virtio SCSI host (virtio 1.2, 5.6) by its legacy interface, with a disk (SBC-3) and a CD drive (MMC-3).

use crate::Script;
use crate::differ::{Difference, at};
use crate::pc::Pc;

pub const SCRIPT: Script = Script {
    options: &[
        "-device",
        "virtio-scsi-pci,addr=5,id=scsi0",
        "-drive",
        "if=none,id=a,format=raw,snapshot=on,file=IMAGE",
        "-device",
        "scsi-hd,drive=a,serial=SER123,wwn=0x5000c50012345678,port_wwn=0x5000c50012345679,port_index=1,rotation_rate=1",
        "-device",
        "scsi-hd,drive=c,scsi-id=0,lun=3,logical_block_size=4096,physical_block_size=4096,dpofua=on,removable=on,\
         vendor=VENDOR,product=PRODUCT,ver=V1.0,device_id=some-disk",
        "-drive",
        "if=none,id=c,format=raw,snapshot=on,file=IMAGE",
        "-drive",
        "if=none,id=b,format=raw,media=cdrom,file=IMAGE",
        "-device",
        "scsi-cd,drive=b,bus=scsi0.0",
    ],
    run: walk,
    differences: &[
        Difference {
            places: &[
                at("disk", "sense", u64::MAX),
                at("large blocks", "sense", u64::MAX),
                at("CD", "sense", u64::MAX),
            ],
            reason: "sense data that came with a response is gone (SPC-4, 5.6.2); QEMU's units tell it once more",
        },
        Difference {
            places: &[at("task management", "after it", u64::MAX), at("task management", "after this one", u64::MAX)],
            reason: "what kind of reset it was is told (SPC-4, 5.14); QEMU tells of power-on after all of them",
        },
    ],
};

const SLOT: (u8, u8) = (5, 0);
/// BAR 0, and its registers.
const IO: u16 = 0xc000;
const GUEST_FEATURES: u16 = IO + 4;
const QUEUE_ADDRESS: u16 = IO + 8;
const QUEUE_SIZE: u16 = IO + 12;
const QUEUE_SELECT: u16 = IO + 14;
const QUEUE_NOTIFY: u16 = IO + 16;
const STATUS: u16 = IO + 18;
const CONFIG: u16 = IO + 20;
/// RAM: a queue, the header, the response, and the data of a request.
const QUEUE: u64 = 0x10_0000;
const HEADER: u64 = 0x14_0000;
const RESPONSE: u64 = 0x14_1000;
const DATA: u64 = 0x15_0000;
const CONTROL: u16 = 0;
const REQUEST: u16 = 2;
/// Bytes of a response, and of the sense data in it.
const RESPONSE_LEN: usize = 108;
const SENSE_LEN: usize = 18;
/// The device is given this many looks at its used ring.
const PATIENCE: u32 = 1_000_000;

const DISK: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
const LARGE: [u8; 8] = [1, 0, 0x40, 3, 0, 0, 0, 0];
const CD: [u8; 8] = [1, 1, 0, 0, 0, 0, 0, 0];

/// The driver: for each queue the number of its entries, and how many requests it has had.
struct Driver<'a> {
    pc: &'a mut dyn Pc,
    queues: [(u64, u16); 3],
}

impl Driver<'_> {
    fn queue(number: u16) -> u64 {
        QUEUE + 0x1_0000 * u64::from(number)
    }

    fn start(&mut self) {
        for status in [0, 1, 3] {
            self.pc.outb(STATUS, status);
        }
        // Neither a packed ring nor any of the others.
        self.pc.outl(GUEST_FEATURES, 0x6);
        for number in 0..3 {
            self.pc.outw(QUEUE_SELECT, number);
            let size = self.pc.inw(QUEUE_SIZE);
            self.queues[usize::from(number)] = (size.into(), 0);
            self.pc.outl(QUEUE_ADDRESS, (Self::queue(number) >> 12) as u32);
        }
        self.pc.outb(STATUS, 7);
    }

    /// A request of these stretches: address, length, whether the device writes.
    fn perform(&mut self, number: u16, parts: &[(u64, u32, bool)]) {
        let base = Self::queue(number);
        let (size, done) = self.queues[usize::from(number)];
        let last = parts.len() - 1;
        for (index, (address, len, writes)) in parts.iter().enumerate() {
            let at = base + 16 * index as u64;
            self.pc.writeq(at, *address);
            self.pc.writel(at + 8, *len);
            self.pc.writew(at + 12, u16::from(index < last) | u16::from(*writes) << 1);
            self.pc.writew(at + 14, index as u16 + 1);
        }
        let available = base + 16 * size;
        let used = (available + 4 + 2 * size + 2 + 4095) & !4095;
        self.pc.writew(available + 4 + 2 * (u64::from(done) % size), 0);
        self.pc.writew(available + 2, done + 1);
        self.pc.outw(QUEUE_NOTIFY, number);
        let ended = (0..PATIENCE).any(|_| self.pc.readw(used + 2) == done + 1);
        assert!(ended, "the request comes to an end");
        self.queues[usize::from(number)].1 = done + 1;
    }

    /// A command: response, status, sense data if there is some, and data that the unit has given.
    fn command(&mut self, name: &str, lun: [u8; 8], cdb: &[u8], out: &[u8], room: u32) -> Vec<u8> {
        self.pc.leave_out(true);
        let mut header = [&lun[..], &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], cdb].concat();
        header.resize(51, 0);
        self.pc.write(HEADER, &header);
        self.pc.write(RESPONSE, &[0; RESPONSE_LEN]);
        if room > 0 {
            self.pc.write(DATA, &vec![0; room as usize]);
        }
        if !out.is_empty() {
            self.pc.write(DATA, out);
        }
        let mut parts = vec![(HEADER, 51, false)];
        if !out.is_empty() {
            parts.push((DATA, out.len() as u32, false));
        }
        parts.push((RESPONSE, RESPONSE_LEN as u32, true));
        if room > 0 {
            parts.push((DATA, room, true));
        }
        self.perform(REQUEST, &parts);
        let mut response = [0; RESPONSE_LEN];
        self.pc.read(RESPONSE, &mut response);
        let mut data = vec![0; room as usize];
        if room > 0 {
            self.pc.read(DATA, &mut data);
        }
        self.pc.leave_out(false);
        let mut answer = vec![response[11], response[10]];
        if answer == [0, 0] {
            answer.extend_from_slice(&data);
        } else {
            answer.extend_from_slice(&response[12..12 + SENSE_LEN]);
        }
        self.pc.finding(name, &answer);
        answer
    }

    /// A command that succeeds: its data.
    fn answer(&mut self, name: &str, lun: [u8; 8], cdb: &[u8], room: u32) -> Vec<u8> {
        let answer = self.command(name, lun, cdb, &[], room);
        assert_eq!(answer[..2], [0, 0], "{name}");
        answer[2..].to_vec()
    }

    /// A command that fails: key, code and qualifier.
    fn refusal(&mut self, name: &str, lun: [u8; 8], cdb: &[u8], out: &[u8], room: u32) -> [u8; 3] {
        let answer = self.command(name, lun, cdb, out, room);
        assert_eq!(answer[..2], [0, 2], "{name}");
        [answer[4], answer[14], answer[15]]
    }

    /// A task management function.
    fn manage(&mut self, name: &str, function: u32, lun: [u8; 8]) -> u8 {
        self.pc.leave_out(true);
        let request = [&[0; 4][..], &function.to_le_bytes(), &lun, &[99, 0, 0, 0, 0, 0, 0, 0]].concat();
        self.pc.write(HEADER, &request);
        self.pc.write(RESPONSE, &[0xee]);
        self.perform(CONTROL, &[(HEADER, 24, false), (RESPONSE, 1, true)]);
        let response = self.pc.readb(RESPONSE);
        self.pc.leave_out(false);
        self.pc.finding(name, &[response]);
        response
    }
}

fn walk(pc: &mut dyn Pc) {
    pc.section("configuration");
    for register in [0x00, 0x08, 0x2c, 0x34, 0x40, 0x98] {
        pc.pci_read(SLOT, register, 4);
    }
    pc.pci_write(SLOT, 0x10, 4, IO.into());
    pc.pci_write(SLOT, 0x04, 2, 0x0007);
    assert_eq!(pc.inl(IO), 0x7900_0006, "features");
    let config: Vec<_> = (0..9).map(|word| pc.inl(CONFIG + 4 * word)).collect();
    assert_eq!(config, [1, 254, 0xffff, 128, 16, 96, 32, 0x00ff_0000, 0x3fff]);
    let mut driver = Driver { pc, queues: [(0, 0); 3] };
    driver.start();

    for (name, lun, product) in
        [("disk", DISK, "QEMU HARDDISK"), ("large blocks", LARGE, "PRODUCT"), ("CD", CD, "QEMU CD-ROM")]
    {
        driver.pc.section(name);
        assert_eq!(driver.refusal("first command", lun, &[0x00], &[], 0), [6, 0x29, 0]);
        assert!(driver.answer("second command", lun, &[0x00], 0).is_empty());
        let inquiry = driver.answer("inquiry", lun, &[0x12, 0, 0, 0, 36], 36);
        assert_eq!(inquiry[16..16 + product.len()], *product.as_bytes());
        driver.answer("list of pages", lun, &[0x12, 1, 0, 0, 16], 16);
        driver.answer("identification", lun, &[0x12, 1, 0x83, 0, 64], 64);
        driver.refusal("a page that is not there", lun, &[0x12, 1, 0xc0, 0, 64], &[], 64);
        driver.answer("capacity", lun, &[0x25], 8);
        driver.refusal("a block without PMI", lun, &[0x25, 0, 0, 0, 0, 1], &[], 8);
        driver.answer("sense", lun, &[0x03, 0, 0, 0, 18], 18);
        driver.refusal("saved pages", lun, &[0x1a, 8, 0xff, 0, 255], &[], 255);
        driver.refusal("a mode page that is not there", lun, &[0x1a, 8, 0x2b, 0, 255], &[], 255);
        driver.refusal("an unknown command", lun, &[0xff], &[], 0);
        driver.refusal("behind the end", lun, &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1], &[], 4096);
        driver.answer("start", lun, &[0x1b, 0, 0, 0, 1], 0);
        driver.answer("reservation", lun, &[0x16], 0);
        let sectors = match name {
            "disk" => 1,
            "CD" => 4,
            _ => 8,
        };
        // QEMU fills more room than it is to.
        let block = driver.answer("a block", lun, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1], 512 * u32::from(sectors));
        assert_eq!(block[0], 3 * sectors);
    }

    for (name, lun) in [("disk", DISK), ("large blocks", LARGE)] {
        driver.pc.section(name);
        driver.answer("long capacity", lun, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], 32);
        for page in [0xb0, 0xb1, 0xb2] {
            driver.answer(&format!("page {page:x}"), lun, &[0x12, 1, page, 0, 64], 64);
        }
        for (page, len) in [(1, 24), (5, 44), (8, 32)] {
            driver.answer(&format!("mode page {page}"), lun, &[0x1a, 0, page, 0, len], len.into());
        }
        driver.answer("changeable caching", lun, &[0x1a, 8, 0x48, 0, 24], 24);
        driver.answer("all mode pages", lun, &[0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 96], 96);
        let list = [&[0, 0, 0, 0, 8, 0x12, 0][..], &[0; 17]].concat();
        assert_eq!(driver.command("cache off", lun, &[0x15, 0x10, 0, 0, 24], &list, 0)[..2], [0, 0]);
        assert_eq!(driver.answer("caching", lun, &[0x1a, 8, 8, 0, 24], 24)[6], 0);
        driver.refusal(
            "other bits of caching",
            lun,
            &[0x15, 0x10, 0, 0, 24],
            &[&[0, 0, 0, 0, 8, 0x12, 1][..], &[0; 17]].concat(),
            0,
        );
        driver.answer("flush", lun, &[0x35], 0);
        driver.refusal("protection information", lun, &[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1], &[], 4096);
        let size = if name == "disk" { 512 } else { 4096 };
        let mut block = vec![0x5a; size as usize];
        driver.command("write", lun, &[0x2a, 0, 0, 0, 0, 7, 0, 0, 1], &block, 0);
        driver.command("write the same", lun, &[0x41, 0, 0, 0, 0, 8, 0, 0, 2], &block, 0);
        assert_eq!(driver.answer("read", lun, &[0x28, 0, 0, 0, 0, 8, 0, 0, 1], size)[..512], [0x5a; 512]);
        driver.refusal("write the same to no blocks", lun, &[0x41, 0, 0, 0, 0, 8, 0, 0, 0], &block, 0);
        block.fill(0);
        driver.command("write zeroes", lun, &[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1], &block, 0);
        assert_eq!(driver.answer("read zeroes", lun, &[0x28, 0, 0, 0, 0, 8, 0, 0, 1], size)[..512], [0; 512]);
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0];
        driver.command("unmap", lun, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24], &list, 0);
        list[8] = 1;
        driver.refusal("unmap behind the end", lun, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24], &list, 0);
        driver.refusal("unmap less than a list", lun, &[0x42, 0, 0, 0, 0, 0, 0, 0, 4], &list, 0);
    }

    driver.pc.section("addresses");
    driver.answer("units", DISK, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 24], 24);
    driver.refusal("units in too little room", DISK, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8], &[], 8);
    driver.answer("no such unit: inquiry", [1, 0, 0x40, 1, 0, 0, 0, 0], &[0x12, 0, 0, 0, 36], 36);
    driver.refusal("no such unit", [1, 0, 0x40, 1, 0, 0, 0, 0], &[0x00], &[], 0);
    assert_eq!(driver.command("no such target", [1, 5, 0x40, 0, 0, 0, 0, 0], &[0x00], &[], 0)[0], 3);
    assert_eq!(driver.command("no such bus", [0, 0, 0x40, 0, 0, 0, 0, 0], &[0x00], &[], 0)[0], 3);
    assert_eq!(driver.command("too little room", DISK, &[0x12, 0, 0, 0, 36], &[], 35)[0], 1);
    assert_eq!(driver.command("too little data", DISK, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 511], 0)[0], 1);

    driver.pc.section("task management");
    for (function, response) in [(0, 0), (1, 0), (2, 11), (3, 0), (6, 0), (7, 0), (99, 11)] {
        assert_eq!(driver.manage(&format!("function {function}"), function, DISK), response);
    }
    assert_eq!(driver.manage("of a unit that is not there", 5, [1, 0, 0x40, 1, 0, 0, 0, 0]), 12);
    assert_eq!(driver.manage("of a target that is not there", 5, [1, 5, 0x40, 1, 0, 0, 0, 0]), 3);
    assert_eq!(driver.manage("reset of a unit", 5, DISK), 0);
    assert_eq!(driver.refusal("after it", DISK, &[0x00], &[], 0)[..2], [6, 0x29]);
    assert_eq!(driver.manage("reset of the nexus", 4, DISK), 0);
    assert_eq!(driver.refusal("after this one", LARGE, &[0x00], &[], 0)[..2], [6, 0x29]);
}

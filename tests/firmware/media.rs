//! Media that tell their names when they are booted from: on the debug port, as firmware's own text is on the serial one.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

const SECTOR: usize = 512;
/// Bytes of a block of a CD.
const BLOCK: usize = 2048;
/// Where SeaBIOS loads what it boots, from a CD too.
const LOADED: u16 = 0x7c00;
/// Sectors of a disk: a cylinder of 16 heads and 63 sectors, the smallest that has a geometry.
const DISK_SECTORS: usize = 16 * 63;
/// Sectors of a 1.44 MB floppy.
const FLOPPY_SECTORS: usize = 2880;

/// What a medium does when it has told its name.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// Lets firmware try the next device.
    Next,
    /// Resets the machine.
    Reset,
    /// Ends it, by isa-debug-exit, with this value.
    Exit(u8),
}

/// What writes a name to port E9h: code that leaves the text at `message` in its data segment there.
fn tell(message: u16) -> Vec<u8> {
    let [low, high] = message.to_le_bytes();
    #[rustfmt::skip]
    let code = vec![
        0xfc, // cld
        0xbe, low, high, // mov si, message
        0xac, // lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x04, // jz +4
        0xe6, 0xe9, // out e9h, al
        0xeb, 0xf7, // jmp -9
    ];
    code
}

/// A boot sector that writes its name to port E9h.
fn boot_sector(name: &str, then: Then) -> Vec<u8> {
    const MESSAGE_AT: usize = 0x40;
    // xor ax, ax; mov ds, ax
    let mut code = vec![0x31, 0xc0, 0x8e, 0xd8];
    code.extend(tell(LOADED + MESSAGE_AT as u16));
    match then {
        Then::Next => code.extend([0xcd, 0x18]), // int 18h
        // mov dx, cf9h; mov al, 6; out dx, al
        Then::Reset => code.extend([0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]),
        // mov dx, 501h; mov al, value; out dx, al
        Then::Exit(value) => code.extend([0xba, 0x01, 0x05, 0xb0, value, 0xee]),
    }
    code.extend([0xeb, 0xfe]); // jmp $
    assert!(code.len() <= MESSAGE_AT);
    code.resize(MESSAGE_AT, 0);
    code.extend(format!("<{name}>\0").bytes());
    assert!(code.len() <= SECTOR - 2);
    code.resize(SECTOR - 2, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// Images in a directory that goes with them, and what they have told.
pub struct Media(TempDir);

impl Media {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The option that has the machine take down what the media tell.
    pub fn debug_port(&self) -> String {
        format!("file:{}", self.0.path().join("told").display())
    }

    /// The names of the media that were booted from, in order.
    pub fn told(&self) -> String {
        fs::read_to_string(self.0.path().join("told")).unwrap()
    }

    fn image(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn sectors(&self, name: &str, then: Then, sectors: usize) -> String {
        let mut bytes = boot_sector(name, then);
        bytes.resize(sectors * SECTOR, 0);
        self.image(name, &bytes)
    }

    /// A disk.
    pub fn disk(&self, name: &str, then: Then) -> String {
        self.sectors(name, then, DISK_SECTORS)
    }

    /// A floppy.
    pub fn floppy(&self, name: &str, then: Then) -> String {
        self.sectors(name, then, FLOPPY_SECTORS)
    }

    /// An option ROM that boots, as those of network cards do (BIOS Boot Specification 1.01, appendix A), and lets firmware
    /// try the next device then.
    pub fn rom(&self, name: &str) -> String {
        const HEADER_AT: usize = 0x20;
        const BOOT_AT: usize = 0x40;
        const MESSAGE_AT: usize = 0x80;
        // One sector long; initialisation is `retf`.
        let mut rom = vec![0x55, 0xaa, 1, 0xcb];
        rom.resize(SECTOR, 0);
        let mut put = |at: usize, data: &[u8]| rom[at..at + data.len()].copy_from_slice(data);
        put(0x1a, &[HEADER_AT as u8]);
        // The expansion header: revision 1, two times 16 bytes, and its bootstrap entry vector.
        put(HEADER_AT, b"$PnP\x01\x02");
        put(HEADER_AT + 0x1a, &[BOOT_AT as u8]);
        // push cs; pop ds; and at the end retf.
        put(BOOT_AT, &[&[0x0e, 0x1f], &tell(MESSAGE_AT as u16)[..], &[0xcb]].concat());
        put(MESSAGE_AT, format!("<{name}>\0").as_bytes());
        let sum = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        rom[SECTOR - 1] = sum.wrapping_neg();
        self.image(name, &rom)
    }

    /// A CD ("El Torito" 1.0, without emulation of another medium).
    pub fn cd(&self, name: &str, then: Then) -> String {
        const CATALOG: usize = 19;
        const PROGRAM: usize = 20;
        let mut bytes = vec![0; 32 * BLOCK];
        let mut put = |block: usize, at: usize, data: &[u8]| {
            let at = block * BLOCK + at;
            bytes[at..at + data.len()].copy_from_slice(data);
        };
        // Volume descriptors: of a file system without files, of the catalog, and the last one.
        for (block, kind) in [(16, 1), (17, 0), (18, 0xff)] {
            put(block, 0, &[kind, b'C', b'D', b'0', b'0', b'1', 1]);
        }
        put(17, 7, b"EL TORITO SPECIFICATION");
        put(17, 0x47, &[CATALOG as u8]);
        // The validation entry, whose words add up to 0, and the entry of the program: four sectors.
        put(CATALOG, 0, &[1]);
        put(CATALOG, 28, &[0xaa, 0x55, 0x55, 0xaa]);
        put(CATALOG, 32, &[0x88, 0, 0, 0, 0, 0, 4, 0, PROGRAM as u8]);
        put(PROGRAM, 0, &boot_sector(name, then));
        self.image(name, &bytes)
    }
}

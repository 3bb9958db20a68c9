//! The flash chips that hold firmware: their contents, where they lie, and how processors see them.
//!
//! The first chip ends at 4 GiB, where processors begin; the second lies directly below it. As long as a chip shows its
//! array, processors read (and execute) it through a read-only slot, and only their writes come to the device.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use devices::backend::block::BlockBackend;
use devices::flash::cfi01::{self, Array, ArrayWindow, Cfi01};

use super::layout::FOUR_GIB;
use super::shadow::rom;
use crate::config::MachineConfig;
use crate::host::Drives;
use crate::kvm::memory::{MemorySlots, SlotError};

/// A chip that is not on the board yet.
pub struct FlashChip {
    /// Its contents.
    pub array: Array,
    medium: Box<dyn BlockBackend>,
    range: Range<u64>,
}

/// Reads the chips of a configuration, the first one (if there are any) first.
///
/// # Errors
/// A drive is no flash chip, or the chips are too large together.
pub fn open(config: &MachineConfig, drives: &dyn Drives) -> Result<Vec<FlashChip>> {
    let mut chips = Vec::new();
    let mut end = FOUR_GIB;
    let mut left = config.platform.max_firmware_size;
    for (unit, id) in config.pflash.iter().enumerate() {
        let Some(id) = id else { continue };
        let context = || format!("flash chip {unit} (drive '{id}')");
        if unit != chips.len() {
            bail!(
                "flash chip {unit} is of no use without flash chip 0, from which the processors start: add -drive if=pflash,unit=0"
            );
        }
        let mut medium =
            drives.block(id).with_context(context)?.with_context(|| format!("{}: the drive is empty", context()))?;
        left = left.checked_sub(medium.len()).with_context(|| {
            format!(
                "{}: with its {} bytes the firmware has more than {} bytes: see -machine max-fw-size",
                context(),
                medium.len(),
                config.platform.max_firmware_size
            )
        })?;
        let array = cfi01::read_array(medium.as_mut()).with_context(context)?;
        let range = end - medium.len()..end;
        end = range.start;
        chips.push(FlashChip { array, medium, range });
    }
    Ok(chips)
}

impl FlashChip {
    /// Lets the processors read the array.
    ///
    /// # Errors
    /// The kernel refuses the slot.
    pub fn map(&self, slots: &MemorySlots) -> Result<(), SlotError> {
        show(slots, &self.range, &self.array)
    }

    /// The device, and its address. [`Self::map`] has been called.
    pub fn into_device(self, slots: &Arc<MemorySlots>) -> (u64, Cfi01) {
        let Self { array, medium, range } = self;
        let base = range.start;
        let window = SlotWindow { slots: Arc::clone(slots), range, array: Arc::clone(&array) };
        (base, Cfi01::new(array, medium, Box::new(window)))
    }
}

fn show(slots: &MemorySlots, range: &Range<u64>, array: &Array) -> Result<(), SlotError> {
    slots.replace(range.clone(), &[rom(range.clone(), Arc::clone(array), range.end)])
}

/// Takes the slot away while the chip answers reads itself.
struct SlotWindow {
    slots: Arc<MemorySlots>,
    range: Range<u64>,
    array: Array,
}

impl ArrayWindow for SlotWindow {
    fn show_array(&mut self, shown: bool) {
        let result = match shown {
            true => show(&self.slots, &self.range, &self.array),
            false => self.slots.replace(self.range.clone(), &[]),
        };
        if let Err(error) = result {
            // The kernel took the same slot before: only a host out of memory gets here.
            log::error!("a flash chip can't be switched: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::qtest::QtestMachine;

    /// Where a chip of 256 KiB begins that ends at 4 GiB.
    const FIRST: u64 = 0xfffc_0000;

    fn contents(seed: u32) -> Vec<u8> {
        (0..256 * 1024_u32).map(|at| ((at ^ at >> 8) + seed).to_le_bytes()[0]).collect()
    }

    fn machine(options: &[String]) -> anyhow::Result<QtestMachine> {
        QtestMachine::new(["-nodefaults", "-m", "16"].map(str::to_owned).iter().chain(options))
    }

    fn chip(path: &Path, more: &str) -> [String; 2] {
        ["-drive".into(), format!("if=pflash,format=raw,file={}{more}", path.display())]
    }

    fn read(pc: &mut QtestMachine, address: u64) -> u8 {
        let mut byte = [0];
        pc.read_memory(address, &mut byte);
        byte[0]
    }

    #[test]
    fn chips_end_at_4_gib_and_keep_what_is_programmed() {
        let directory = tempfile::tempdir().unwrap();
        let (code, variables) = (directory.path().join("code"), directory.path().join("variables"));
        fs::write(&code, contents(1)).unwrap();
        fs::write(&variables, &contents(2)[..0x8000]).unwrap();
        let options = [chip(&code, ",readonly=on"), chip(&variables, "")].concat();
        let second = FIRST - 0x8000;
        {
            let mut pc = machine(&options).unwrap();
            for (address, at, seed) in [
                (0xffff_fff0, 0x3_fff0, 1),
                (FIRST, 0, 1),
                (FIRST - 1, 0x7fff, 2),
                (second, 0, 2),
                (0xf_fff0, 0x3_fff0, 1),
                (0xe_0000, 0x2_0000, 1),
            ] {
                assert_eq!(read(&mut pc, address), contents(seed)[at], "{address:#x}");
            }
            // Below 128 KiB from its end, and below the chips, there is nothing.
            // The place for option ROMs, and nobody.
            assert_eq!([read(&mut pc, 0xd_ffff), read(&mut pc, second - 1)], [0, 0xff]);
            // Erase a block, program a byte of it.
            for (offset, byte) in [(0x1000, 0x20), (0x1000, 0xd0), (0x1002, 0x40), (0x1002, 0xa5), (0, 0x70)] {
                pc.write_memory(second + offset, &[byte]);
            }
            assert_eq!(read(&mut pc, second + 0x1234), 0x80, "status");
            // The first chip is protected, and its mode is its own.
            pc.write_memory(FIRST, &[0x40]);
            pc.write_memory(FIRST, &[0x00]);
            assert_eq!(read(&mut pc, FIRST), 0x90);
            assert_eq!(read(&mut pc, 0xf_fff0), contents(1)[0x3_fff0], "the copy is always there");
            pc.system_reset();
            assert_eq!(read(&mut pc, FIRST), contents(1)[0]);
            assert_eq!([read(&mut pc, second + 0x1001), read(&mut pc, second + 0x1002)], [0xff, 0xa5]);
        }
        let mut pc = machine(&options).unwrap();
        assert_eq!([read(&mut pc, second + 0x1001), read(&mut pc, second + 0x1002)], [0xff, 0xa5], "after a restart");
        let mut expected = contents(2)[..0x8000].to_vec();
        expected[0x1000..0x2000].fill(0xff);
        expected[0x1002] = 0xa5;
        assert_eq!(fs::read(&variables).unwrap(), expected);
        assert_eq!(fs::read(&code).unwrap(), contents(1));
    }

    #[test]
    fn firmware_in_a_chip_is_given_the_kernel_to_start() {
        let directory = tempfile::tempdir().unwrap();
        let (code, kernel) = (directory.path().join("code"), directory.path().join("kernel"));
        fs::write(&code, contents(1)).unwrap();
        // Linux, Documentation/arch/x86/boot.rst: a setup sector behind the boot sector, and 16 bytes that are loaded high.
        let mut image = vec![0; 1024 + 16];
        for (at, bytes) in [
            (0x1f1, &[1][..]),
            (0x1fe, &[0x55, 0xaa]),
            (0x201, &[0x6a]),
            (0x202, b"HdrS"),
            (0x206, &[0x0c, 0x02]),
            (0x211, &[1]),
        ] {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        fs::write(&kernel, image).unwrap();
        let options = [chip(&code, "").as_slice(), &["-kernel".into(), kernel.display().to_string()]].concat();
        let mut pc = machine(&options).unwrap();
        // FW_CFG_KERNEL_SIZE and FW_CFG_SETUP_SIZE (QEMU, docs/specs/fw_cfg).
        for (key, size) in [(0x08, 16), (0x17, 1024)] {
            pc.outw(0x510, key);
            assert_eq!([(); 4].map(|()| pc.inb(0x511)), u32::to_le_bytes(size), "item {key:#x}");
        }
    }

    #[test]
    fn what_is_no_chip_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chip");
        fs::write(&path, vec![0; 0x1_0200]).unwrap();
        let refused = |options: &[String]| format!("{:#}", machine(options).map(|_| ()).unwrap_err());
        let error = refused(&chip(&path, ""));
        assert!(error.contains("flash chip 0 (drive 'pflash0')") && error.contains("blocks of 4096 bytes"), "{error}");
        let error = refused(&chip(&path, ",unit=1"));
        assert!(error.contains("without flash chip 0"), "{error}");
        fs::write(&path, vec![0; 0x2_0000]).unwrap();
        let error = refused(&[chip(&path, "").as_slice(), &["-machine".into(), "max-fw-size=64K".into()]].concat());
        assert!(error.contains("131072 bytes") && error.contains("max-fw-size"), "{error}");
    }
}

//! Boot loaders on disks and CDs, and what they load.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::console::Console;
use crate::{FIRMWARE, SYSTEM, grub, installed, quit, start, start_with, test_kernel};

/// What GRUB prints when it has loaded the kernel, and when its own driver is at work.
const LOADED: &str = "GRUB-LOADED";
const NATIVE: &str = "GRUB-NATIVE";
/// Where the text begins and ends that GRUB shows.
const TEXT: [&str; 2] = ["GRUB-TEXT", "GRUB-TEXT-END"];

/// A machine with a kernel, and a text for GRUB to show.
struct Loads {
    directory: TempDir,
    text: String,
}

impl Loads {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text: String = (1..=300).map(|number| format!("{number}\n")).collect();
        fs::write(directory.path().join("text"), &text).unwrap();
        Self { directory, text }
    }

    /// Makes a medium by `make`, with GRUB that loads a kernel from `device` by way of firmware and shows a text from
    /// `text_device`, before which it runs further commands, and starts natoma with it as a drive, and with devices.
    fn start(
        &self,
        make: fn(&Path, &str, &[&Path]) -> Option<()>,
        device: &str,
        before_text: &[&str],
        text_device: &str,
        drive: &str,
        devices: &[&str],
    ) -> Option<Console> {
        let kernel = test_kernel::file("bzImage-up")?;
        let load = format!("linux ({device})/bzImage-up console=ttyS0 lpj=1000000");
        let show = format!("cat ({text_device})/text");
        let loaded = format!("echo {LOADED}");
        let [text, text_end] = TEXT.map(|text| format!("echo {text}"));
        let mut script = grub::TERMINAL.to_vec();
        script.extend(["insmod linux", "insmod cat", &load, &loaded]);
        script.extend(before_text);
        script.extend([&text, &show, &text_end, "boot\n"].map(|command: &str| command));
        let image = self.directory.path().join("image");
        make(&image, &script.join("\n"), &[&kernel, &self.directory.path().join("text")])?;
        let drive = format!("format=raw,file={},{drive}", image.display());
        let options = ["-nodefaults", "-display", "none", "-serial", "stdio", "-m", "128", "-drive", &drive];
        start_with(&[&options, devices].concat())
    }

    /// Waits until GRUB has loaded the kernel.
    fn expect_loaded(&self, natoma: &mut Console) {
        natoma.expect(grub::START, SYSTEM);
        natoma.expect(LOADED, SYSTEM);
    }

    /// Waits until GRUB has shown the text, and the kernel starts.
    fn expect_text_and_kernel(&self, natoma: &mut Console) {
        natoma.expect(TEXT[0], SYSTEM);
        let shown = natoma.expect(TEXT[1], SYSTEM).before;
        assert_eq!(shown.trim(), self.text.trim());
        natoma.expect("Linux version", SYSTEM);
    }
}

/// GRUB's own driver for IDE disks reads what firmware reads.
#[test]
fn grub_loads_a_kernel_from_an_ide_disk() {
    let loads = Loads::new();
    let native = format!("echo {NATIVE}");
    let commands = ["insmod nativedisk", "nativedisk pata", &native];
    let disk = loads.start(grub::disk, "hd0,msdos1", &commands, "ata0,msdos1", "if=ide", &[]);
    let Some(mut natoma) = disk else { return };
    loads.expect_loaded(&mut natoma);
    natoma.expect(NATIVE, SYSTEM);
    loads.expect_text_and_kernel(&mut natoma);
}

/// By SeaBIOS' own drivers for virtio.
fn check_grub_of_a_virtio_disk(drive: &str, devices: &[&str]) {
    let loads = Loads::new();
    let Some(mut natoma) = loads.start(grub::disk, "hd0,msdos1", &[], "hd0,msdos1", drive, devices) else { return };
    loads.expect_loaded(&mut natoma);
    loads.expect_text_and_kernel(&mut natoma);
}

#[test]
fn grub_loads_a_kernel_from_a_virtio_disk() {
    check_grub_of_a_virtio_disk("if=virtio", &[]);
}

#[test]
fn grub_loads_a_kernel_from_a_scsi_disk() {
    let devices = ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"];
    check_grub_of_a_virtio_disk("if=none,id=d", &devices);
}

fn check_grub_of_a_cd(drive: &str, devices: &[&str]) {
    let loads = Loads::new();
    let Some(mut natoma) = loads.start(grub::cd, "cd", &[], "cd", drive, devices) else { return };
    loads.expect_loaded(&mut natoma);
    loads.expect_text_and_kernel(&mut natoma);
}

#[test]
fn grub_loads_a_kernel_from_a_cd() {
    check_grub_of_a_cd("index=2,media=cdrom", &[]);
}

#[test]
fn grub_loads_a_kernel_from_a_cd_of_a_scsi_drive() {
    check_grub_of_a_cd("if=none,id=d,media=cdrom", &["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=d"]);
}

#[test]
fn isolinux_reaches_its_prompt() {
    const LOADER: &str = "/usr/lib/ISOLINUX/isolinux.bin";
    const LIBRARY: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";
    if !installed(LOADER, "isolinux") || !installed(LIBRARY, "syslinux-common") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let contents = directory.path().join("contents");
    fs::create_dir(&contents).unwrap();
    fs::copy(LOADER, contents.join("isolinux.bin")).unwrap();
    fs::copy(LIBRARY, contents.join("ldlinux.c32")).unwrap();
    fs::write(contents.join("isolinux.cfg"), "prompt 1\nsay ISOLINUX has read its configuration\n").unwrap();
    let image = directory.path().join("image");
    let Some(()) = grub::iso(&image, &contents, "isolinux.bin", &[]) else { return };
    let drive = format!("index=2,media=cdrom,format=raw,file={}", image.display());
    let Some(mut natoma) = start(&["-boot", "d", "-drive", &drive]) else { return };
    natoma.expect("ISOLINUX 6", SYSTEM);
    natoma.expect("ISOLINUX has read its configuration", SYSTEM);
    natoma.expect("boot:", FIRMWARE);
    quit(natoma);
}

//! A floppy with GRUB that looks around and switches the machine off.

use std::fs;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::installed;

/// What it prints first and last.
pub const START: &str = "GRUB-START";
pub const END: &str = "GRUB-END";

/// Few modules: GRUB unpacks itself, which takes long where it is interpreted.
const MODULES: [&str; 10] =
    ["biosdisk", "serial", "terminal", "echo", "date", "lspci", "lsacpi", "cmosdump", "iorw", "halt"];
/// Its own terminal: SeaBIOS would move the cursor in the middle of words.
const COMMANDS: [&str; 10] = [
    "serial --unit=0 --speed=115200",
    "terminal_output serial",
    "echo GRUB-START",
    "date",
    "lspci",
    "lsacpi",
    "cmosdump",
    "inb 0x64",
    "echo GRUB-END",
    "halt",
];
const FLOPPY: usize = 1_474_560;

/// Makes the floppy: GRUB's boot sector, and its core behind that. `None` if GRUB is not here.
pub fn floppy() -> Option<NamedTempFile> {
    const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";
    if !installed(BOOT_SECTOR, "grub-pc-bin") || !installed("/usr/bin/grub-mkimage", "grub-common") {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let (script, core) = (directory.path().join("script"), directory.path().join("core.img"));
    fs::write(&script, COMMANDS.join("\n") + "\n").unwrap();
    let mut command = Command::new("grub-mkimage");
    command.args(["-O", "i386-pc", "-p", "(fd0)/boot/grub", "-c"]).arg(&script).arg("-o").arg(&core).args(MODULES);
    let status = command.status().expect("grub-mkimage starts");
    assert!(status.success(), "{command:?}: {status}");

    let mut image = fs::read(BOOT_SECTOR).unwrap();
    image.extend(fs::read(&core).unwrap());
    assert!(image.len() <= FLOPPY);
    image.resize(FLOPPY, 0);
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    Some(file)
}

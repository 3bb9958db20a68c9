//! GRUB on media: on floppies it looks around and switches the machine off, or restarts it; on disks and CDs it loads a kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::installed;

/// What it prints first and last.
pub const START: &str = "GRUB-START";
pub const END: &str = "GRUB-END";
/// What it prints before the output of a command, with the command behind it.
pub const COMMAND: &str = "GRUB-COMMAND ";

/// Few modules: GRUB unpacks itself, which takes long where it is interpreted.
const MODULES: [&str; 4] = ["biosdisk", "serial", "terminal", "echo"];
/// Its own terminal: SeaBIOS would move the cursor in the middle of words.
pub const TERMINAL: [&str; 3] = ["serial --unit=0 --speed=115200", "terminal_output serial", "echo GRUB-START"];
const FLOPPY: usize = 1_474_560;
/// What a BIOS loads of a disk or floppy with GRUB.
const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";
/// The directory of its modules.
const MODULE_FILES: &str = "/usr/lib/grub/i386-pc";

/// What GRUB does, and the modules that it needs for that.
pub struct Task {
    modules: &'static [&'static str],
    commands: &'static [&'static str],
    /// The last command, which ends GRUB.
    end: &'static str,
}

/// Lists what the machine has, reads CMOS and registers, and powers off. What changes by itself is not read, or masked by
/// the comparison.
pub const LOOK_AROUND: Task = Task {
    modules: &["date", "lspci", "lsacpi", "cmosdump", "iorw", "halt"],
    commands: &[
        "date",
        "lspci",
        "lsacpi",
        "cmosdump",
        // 8259s: masks and ELCR as firmware leaves them.
        "inb 0x21",
        "inb 0xa1",
        "inb 0x4d0",
        "inb 0x4d1",
        // Keyboard controller, RTC index, port 92h.
        "inb 0x64",
        "inb 0x70",
        "inb 0x92",
        // Floppy controller: main status.
        "inb 0x3f4",
        // COM1 as GRUB has set it, and LPT1, which is not there.
        "inb 0x3f9",
        "inb 0x3fb",
        "inb 0x3fc",
        "inb 0x379",
        // APM, PM1_EN, PM1_CNT, GPE0.
        "inb 0xb2",
        "inw 0x602",
        "inw 0x604",
        "inl 0xafe0",
        // Processors that are there, firmware configuration's DMA register, nothing at all.
        "inb 0xaf00",
        "inl 0x514",
        "inl 0x518",
        "inw 0x5000",
    ],
    end: "halt",
};

/// Restarts the machine.
pub const RESTART: Task = Task { modules: &["reboot"], commands: &[], end: "reboot" };

/// Makes GRUB's core for a format of grub-mkimage, with a script and modules beside [`MODULES`]. `None` if GRUB is not here.
fn core(format: &str, prefix: &str, script: &str, modules: &[&str]) -> Option<Vec<u8>> {
    if !installed(BOOT_SECTOR, "grub-pc-bin") || !installed("/usr/bin/grub-mkimage", "grub-common") {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let (script_file, core) = (directory.path().join("script"), directory.path().join("core.img"));
    fs::write(&script_file, script).unwrap();
    let mut command = Command::new("grub-mkimage");
    command.args(["-O", format, "-p", prefix, "-c"]).arg(&script_file).arg("-o").arg(&core);
    let status = command.args(MODULES).args(modules).status().expect("grub-mkimage starts");
    assert!(status.success(), "{command:?}: {status}");
    Some(fs::read(core).unwrap())
}

/// Runs a program that makes an image. `None`, with a notice, if it is not here.
fn make(command: &mut Command, package: &str) -> Option<()> {
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(error) => {
            eprintln!("SKIPPED: {command:?} does not start: {error} (Debian: {package})");
            None
        }
    }
}

/// Makes a disk with GRUB in front of a FAT partition with GRUB's modules and these files, and has GRUB run a script. `None` if
/// GRUB or mtools are not here.
pub fn disk(image: &Path, script: &str, files: &[&Path]) -> Option<()> {
    const SECTOR: usize = 512;
    const SECTORS: u32 = 48 * 2048;
    const FIRST: u32 = 2048;
    let core = core("i386-pc", "(hd0,msdos1)/boot/grub", script, &["part_msdos", "fat"])?;
    let mut bytes = fs::read(BOOT_SECTOR).unwrap();
    // The partition table: one entry, active, FAT with LBA; CHS addresses are not used.
    bytes[446..510].fill(0);
    bytes[446..454].copy_from_slice(&[0x80, 0xff, 0xff, 0xff, 0x0e, 0xff, 0xff, 0xff]);
    bytes[454..458].copy_from_slice(&FIRST.to_le_bytes());
    bytes[458..462].copy_from_slice(&(SECTORS - FIRST).to_le_bytes());
    bytes.extend(core);
    assert!(bytes.len() <= FIRST as usize * SECTOR, "GRUB fits in front of the partition");
    bytes.resize(SECTORS as usize * SECTOR, 0);
    fs::write(image, bytes).unwrap();
    let partition = format!("{}@@{}", image.display(), FIRST as usize * SECTOR);
    let mtools = |program: &str, arguments: &[&str]| {
        make(Command::new(program).args(["-i", &partition]).args(arguments), "mtools")
    };
    mtools("mformat", &["-T", &(SECTORS - FIRST).to_string(), "-h", "16", "-s", "63", "::"])?;
    mtools("mmd", &["::/boot", "::/boot/grub"])?;
    mtools("mcopy", &["-s", MODULE_FILES, "::/boot/grub/"])?;
    files.iter().try_for_each(|file| mtools("mcopy", &[&file.display().to_string(), "::/"]))
}

/// Makes a CD with GRUB, its modules and these files in the same way. `None` if GRUB or xorriso is not here.
pub fn cd(image: &Path, script: &str, files: &[&Path]) -> Option<()> {
    let core = core("i386-pc-eltorito", "(cd)/boot/grub", script, &["iso9660"])?;
    let contents = tempfile::tempdir().unwrap();
    fs::write(contents.path().join("grub"), core).unwrap();
    for file in files {
        fs::copy(file, contents.path().join(file.file_name().unwrap())).unwrap();
    }
    iso(image, contents.path(), "grub", &[&format!("/boot/grub/i386-pc={MODULE_FILES}")])
}

/// Makes a CD with the files of a directory and grafted ones that boots the program `boot` of it. `None` if xorriso is not here.
pub fn iso(image: &Path, contents: &Path, boot: &str, grafts: &[&str]) -> Option<()> {
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-b", boot, "-no-emul-boot", "-boot-load-size", "4"]);
    command.args(["-boot-info-table", "-graft-points", "-o"]).arg(image).args(grafts);
    make(command.arg(format!("/={}", contents.display())), "xorriso")
}

impl Task {
    fn script(&self) -> String {
        let mut lines: Vec<_> = TERMINAL.map(String::from).into();
        for command in self.commands {
            lines.extend([format!("echo {COMMAND}{command}"), (*command).into()]);
        }
        lines.extend([format!("echo {END}"), self.end.into()]);
        lines.join("\n") + "\n"
    }

    /// Makes the floppy: GRUB's boot sector, and its core behind that. `None` if GRUB is not here.
    pub fn floppy(&self) -> Option<NamedTempFile> {
        let core = core("i386-pc", "(fd0)/boot/grub", &self.script(), self.modules)?;
        let mut image = fs::read(BOOT_SECTOR).unwrap();
        image.extend(core);
        assert!(image.len() <= FLOPPY);
        image.resize(FLOPPY, 0);
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), image).unwrap();
        Some(file)
    }
}

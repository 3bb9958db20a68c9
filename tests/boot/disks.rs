//! Linux on IDE disks and a CD drive: what it sees of them, what it writes, and what the host finds afterwards.
//!
//! The CD brings Debian's mke2fs and hdparm, with the libraries that they need: to run them is to read it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::guest::{FULL, Guest};
use crate::{check_log, end};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Sectors of the disk with the file system.
const SMALL: u64 = 24 * MIB / SECTOR;
/// Sectors of the other: its end is beyond what 28 bits address.
const LARGE: u64 = 200 * 1024 * MIB / SECTOR;
/// Programs of the host that the guest runs from the CD.
const TOOLS: [&str; 2] = ["/usr/sbin/mke2fs", "/usr/sbin/hdparm"];
/// How data is transferred to and from the two disks and the CD drive.
const XFER_MODES: &str = "cat /sys/class/ata_device/dev1.0/xfer_mode /sys/class/ata_device/dev1.1/xfer_mode \
                          /sys/class/ata_device/dev2.0/xfer_mode";
/// Runs one of them.
const TOOL: &str = "LD_LIBRARY_PATH=/tmp/cd /tmp/cd/ld-linux-x86-64.so.2 /tmp/cd/";
/// The last line of the files that are written at the same time.
const LAST_LINES: [u32; 3] = [21_000, 22_000, 23_000];
/// The last line of the file on the CD.
const ON_CD: u32 = 30_000;

/// The lines that `seq` prints.
fn sequence(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// Runs a program of the host and returns what it prints. `None`, with a notice, if it is not here.
fn run(program: &str, package: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).env("LC_ALL", "C").output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: {program} does not start: {error} (Debian: {package})");
            return None;
        }
    };
    let [said, complained] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}{complained}", output.status);
    Some(said)
}

/// The files of the tools: the programs, their libraries and what loads these.
fn files_of_tools() -> Option<Vec<String>> {
    let mut files = Vec::new();
    for tool in TOOLS {
        if !Path::new(tool).exists() {
            eprintln!("SKIPPED: {tool} is not installed (Debian: e2fsprogs hdparm)");
            return None;
        }
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)"
        let libraries = run("ldd", "libc-bin", &[tool])?;
        let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(str::to_owned).chain([tool.to_owned()]));
    }
    files.sort();
    files.dedup();
    Some(files)
}

/// Makes a CD with these files and one with lines.
fn cd(directory: &TempDir, files: &[String]) -> Option<PathBuf> {
    let (image, contents) = (directory.path().join("cd"), directory.path().join("cd.files"));
    fs::create_dir(&contents).unwrap();
    fs::write(contents.join("lines.txt"), sequence(ON_CD)).unwrap();
    for file in files {
        fs::copy(file, contents.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    let [image_name, contents] = [&image, &contents].map(|path| path.display().to_string());
    run("xorriso", "xorriso", &["-as", "mkisofs", "-quiet", "-R", "-o", &image_name, &contents])?;
    Some(image)
}

fn disk(directory: &TempDir, name: &str, sectors: u64) -> PathBuf {
    let path = directory.path().join(name);
    File::create(&path).unwrap().set_len(sectors * SECTOR).unwrap();
    path
}

/// Checks what a command prints.
fn check_says(guest: &mut Guest, command: &str, expected: &str) {
    let said = guest.run(command);
    guest.check(said == expected, || format!("{command}: {said:?} instead of {expected:?}"));
}

/// Checks that a command prints all of these.
fn check_tells(guest: &mut Guest, command: &str, expected: &[&str]) {
    let said = guest.run(command);
    for text in expected {
        guest.check(said.contains(text), || format!("{command} does not say {text:?}:\n{said}"));
    }
}

/// Checks that two commands print the same.
fn check_same(guest: &mut Guest, command: &str, other: &str) {
    let [first, second] = [command, other].map(|command| guest.run(command));
    guest.check(first == second, || format!("{command}: {first:?}, but {other}: {second:?}"));
}

/// Checks the lines on the CD.
fn check_cd(guest: &mut Guest) {
    guest.run("mkdir -p /tmp/cd && mount -t iso9660 /dev/sr0 /tmp/cd");
    check_same(guest, "md5sum < /tmp/cd/lines.txt", &format!("seq {ON_CD} | md5sum"));
}

/// Checks the files that were written at the same time.
fn check_files(guest: &mut Guest) {
    for last in LAST_LINES {
        check_same(guest, &format!("md5sum < /tmp/disk/{last}"), &format!("seq {last} | md5sum"));
    }
}

/// What Linux sees of the drives.
fn check_identity(guest: &mut Guest) {
    let queue = |disk: &str| {
        let names = ["logical_block_size", "physical_block_size", "rotational", "write_cache"];
        names.map(|name| format!("/sys/block/{disk}/queue/{name}")).join(" ")
    };
    check_says(guest, "cat /sys/block/sd?/size", &format!("{SMALL}\n{LARGE}"));
    check_says(guest, &format!("cat {}", queue("sda")), "512\n512\n1\nwrite back");
    check_says(guest, &format!("cat {}", queue("sdb")), "512\n512\n0\nwrite back");
    check_says(guest, "cat /sys/block/sdb/device/wwid", "naa.5000c50015ea71ad");
    // As much as one block of a TRIM's list can name.
    check_says(guest, "cat /sys/block/sd?/queue/discard_max_bytes", "2147450880\n2147450880");
    let small = ["QEMU HARDDISK", "NATOMA-SERIAL", "2.5+", "Write cache"];
    check_tells(guest, &format!("{TOOL}hdparm -I /dev/sda"), &small);
    let large = ["A large one", "QM00002", "LBA48  user addressable sectors:   419430400"];
    check_tells(guest, &format!("{TOOL}hdparm -I /dev/sdb"), &large);
}

/// Makes a file system and has three processes write to it.
fn fill(guest: &mut Guest) {
    guest.run(&format!("{TOOL}mke2fs -q -t ext4 /dev/sda && mkdir /tmp/disk && mount -t ext4 /dev/sda /tmp/disk"));
    let writers = LAST_LINES.map(|last| format!("seq {last} > {last} & ")).concat();
    guest.run(&format!("cd /tmp/disk; {writers} wait; sync; cd /"));
    guest.run("umount /tmp/disk && mount -t ext4 -o ro /dev/sda /tmp/disk");
    check_files(guest);
    guest.run("umount /tmp/disk");
}

/// The end of the large disk: written, thrown out of the guest's cache, read, and the sectors before it trimmed.
fn use_last_sectors(guest: &mut Guest) {
    let last = LARGE - 1;
    guest.run(&format!(
        "echo the end | dd of=/dev/sdb bs=512 seek={last} conv=notrunc && blockdev --flushbufs /dev/sdb"
    ));
    check_says(guest, &format!("dd if=/dev/sdb bs=512 skip={last} 2>/dev/null | tr -d '\\000'"), "the end");
    guest.run(&format!("blkdiscard -o {} -l {MIB} /dev/sdb", (LARGE - 1) * SECTOR - 4 * MIB + SECTOR));
}

/// Checks the file system with programs of the host.
fn check_from_outside(image: &Path) {
    let image = image.display().to_string();
    run("/usr/sbin/e2fsck", "e2fsprogs", &["-f", "-n", &image]);
    for last in LAST_LINES {
        let contents = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", &format!("cat /{last}"), &image]);
        assert!(contents.is_none_or(|contents| contents == sequence(last)), "/{last} is another file");
    }
}

#[test]
fn ide_disks_and_cds() {
    let directory = tempfile::tempdir().unwrap();
    let (small, large) = (disk(&directory, "small", SMALL), disk(&directory, "large", LARGE));
    let Some(tools) = files_of_tools() else { return };
    let Some(tools_cd) = cd(&directory, &tools) else { return };
    let drive = |more: &str, path: &Path| format!("format=raw,{more},file={}", path.display());
    let [small_drive, large_drive, cd_drive] =
        [drive("if=none,id=small", &small), drive("if=none,id=large", &large), drive("index=2,media=cdrom", &tools_cd)];
    #[rustfmt::skip]
    let options = [
        "-nographic", "-smp", "2", "-drive", &small_drive, "-device", "ide-hd,drive=small,serial=NATOMA-SERIAL",
        "-drive", &large_drive,
        "-device", "ide-hd,drive=large,model=A large one,rotation_rate=1,wwn=0x5000c50015ea71ad", "-drive", &cd_drive,
    ];
    // The tools use wider registers than are saved with `noxsave`.
    let append = FULL.replace("noxsave", "");
    let Some(mut guest) = Guest::boot("vmlinux-smp", &append, &options) else { return };
    check_says(&mut guest, XFER_MODES, "XFER_MW_DMA_2\nXFER_MW_DMA_2\nXFER_MW_DMA_2");
    check_cd(&mut guest);
    check_identity(&mut guest);
    fill(&mut guest);
    use_last_sectors(&mut guest);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
    check_from_outside(&small);
    let mut end_of_large = [0; 7];
    File::open(&large).unwrap().read_exact_at(&mut end_of_large, (LARGE - 1) * SECTOR).unwrap();
    assert_eq!(&end_of_large, b"the end");
    assert!(fs::metadata(&large).unwrap().blocks() * SECTOR < MIB, "the large disk is no longer sparse");

    // Once more, and all by the processor.
    let Some(mut guest) = Guest::boot("vmlinux-smp", &format!("{append} libata.dma=0"), &options) else { return };
    check_says(&mut guest, XFER_MODES, "XFER_PIO_4\nXFER_PIO_4\nXFER_PIO_4");
    guest.run("mkdir /tmp/disk && mount -t ext4 /dev/sda /tmp/disk");
    check_files(&mut guest);
    guest.run("echo by the processor > /tmp/disk/pio && umount /tmp/disk");
    check_cd(&mut guest);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
    check_from_outside(&small);
    let written = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", "cat /pio", &small.display().to_string()]);
    assert!(written.is_none_or(|written| written == "by the processor\n"));
}

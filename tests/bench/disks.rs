//! Disks: the same guest and the same image on natoma and on QEMU, and `fio` on the image without a machine as the limit.
//!
//! The guest (`tests/guest`, program `disk`) times its requests by its own clock. Beside requests a second, the processor time of a
//! request is measured: that of the whole process, and that of all threads but the vCPU's, which spins, as the guest looks whether
//! it is done. It is the kernel's count of the time between the guest's first request and its last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::monitor::{Monitor, Monitors};
use crate::options::Options;
use crate::report::{Bound, Measurement, Report};
use crate::watch::Watched;

/// QEMU's firmware may need many seconds on a busy host.
const LIMIT: Duration = Duration::from_secs(180);
/// Bytes of the image.
const IMAGE: u64 = 256 << 20;
const FIO: &str = "fio";
/// What QEMU goes through before the guest: SeaBIOS without all that takes seconds where ring 0 is emulated. The guest sets up itself
/// what it needs.
const FIRMWARE: &str = "bios-microvm.bin";
/// A run whose threads have waited for a processor longer than this part of it tells of the host's other work: another one is made,
/// up to so many times.
const WAITED: f64 = 0.1;
const TRIES: usize = 4;
/// What a thread is called that runs a virtual CPU (`-name debug-threads=on`).
const VCPU: &str = "CPU 0/KVM";

/// A kind of disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Virtio,
    IdeDma,
    IdePio,
}

/// What is measured.
struct Case {
    /// Requests a second, the processor time of one, and that without the vCPU's.
    names: [&'static str; 3],
    disk: Disk,
    write: bool,
    random: bool,
    /// Bytes of a request.
    size: u64,
    /// Requests under way.
    depth: u64,
    /// Past the host's page cache.
    direct: bool,
    count: u64,
    /// natoma / QEMU.
    required: Option<Bound>,
    /// natoma / fio.
    of_limit: Option<Bound>,
}

macro_rules! case {
    ($name:literal, $disk:ident, $size:literal KiB, depth $depth:literal, $count:literal times
     $(, $set:ident: $value:expr)*) => {
        Case {
            $($set: $value,)*
            ..Case {
                names: [
                    concat!("disk-", $name),
                    concat!("disk-", $name, "-cpu"),
                    concat!("disk-", $name, "-io-cpu"),
                ],
                disk: Disk::$disk,
                write: false,
                random: false,
                size: $size << 10,
                depth: $depth,
                direct: false,
                count: $count,
                required: None,
                of_limit: None,
            }
        }
    };
}

const CASES: [Case; 16] = [
    case!("virtio-4k-qd1", Virtio, 4 KiB, depth 1, 50_000 times, random: true, required: Some(Bound::AtLeast(1.0))),
    case!(
        "virtio-4k-qd32", Virtio, 4 KiB, depth 32, 250_000 times,
        random: true, required: Some(Bound::AtLeast(1.3)), of_limit: Some(Bound::AtLeast(0.8))
    ),
    case!(
        "virtio-4k-qd1-direct", Virtio, 4 KiB, depth 1, 5000 times,
        random: true, direct: true, required: Some(Bound::AtLeast(1.0))
    ),
    case!(
        "virtio-4k-qd32-direct", Virtio, 4 KiB, depth 32, 20_000 times,
        random: true, direct: true, required: Some(Bound::AtLeast(1.3)), of_limit: Some(Bound::AtLeast(0.8))
    ),
    case!("virtio-128k-read", Virtio, 128 KiB, depth 8, 20_000 times),
    case!("virtio-128k-write", Virtio, 128 KiB, depth 8, 10_000 times, write: true),
    case!("virtio-128k-read-direct", Virtio, 128 KiB, depth 8, 4000 times, direct: true),
    case!("virtio-128k-write-direct", Virtio, 128 KiB, depth 8, 2000 times, write: true, direct: true),
    case!("ide-dma-4k", IdeDma, 4 KiB, depth 1, 3000 times, random: true, required: Some(Bound::AtLeast(1.5))),
    case!("ide-dma-128k-read", IdeDma, 128 KiB, depth 1, 2000 times, required: Some(Bound::AtLeast(1.5))),
    case!(
        "ide-dma-128k-write", IdeDma, 128 KiB, depth 1, 2000 times,
        write: true, required: Some(Bound::AtLeast(1.5))
    ),
    case!("ide-dma-4k-direct", IdeDma, 4 KiB, depth 1, 2000 times, random: true, direct: true),
    case!("ide-dma-128k-read-direct", IdeDma, 128 KiB, depth 1, 1000 times, direct: true),
    case!("ide-pio-4k", IdePio, 4 KiB, depth 1, 500 times, random: true),
    case!("ide-pio-128k-read", IdePio, 128 KiB, depth 1, 20 times),
    case!("ide-pio-4k-write", IdePio, 4 KiB, depth 1, 15 times, random: true, write: true),
];

/// Measures what is wanted of it, if it was asked for.
pub fn measure(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    let Some(rounds) = options.disks else { return Ok(()) };
    let cases: Vec<_> = CASES.iter().filter(|case| case.names.iter().any(|name| options.wants(name))).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let image = Image::make()?;
    let machines: Vec<_> = monitors.all().into_iter().filter(|monitor| *monitor != Monitor::Bare).collect();
    let fio = fio_is_there();
    for case in cases {
        let [mut rate, mut cpu, mut io] = [(0, "requests/s"), (1, "µs/request"), (2, "µs/request")]
            .map(|(name, unit)| Measurement::new(case.names[name], unit));
        for _ in 0..rounds {
            for monitor in &machines {
                image.prepare(case)?;
                let mut done = case.in_guest(monitors, *monitor, &image.0)?;
                for _ in 1..TRIES {
                    if done.waited <= WAITED {
                        break;
                    }
                    done = case.in_guest(monitors, *monitor, &image.0)?;
                }
                if done.waited > WAITED {
                    let percent = done.waited * 100.0;
                    eprintln!("{}: {} has waited for processors, {percent:.0} %", case.names[0], monitor.name());
                }
                rate.push(monitor.name(), done.rate);
                cpu.push(monitor.name(), done.microseconds);
                io.push(monitor.name(), done.without_guest);
            }
            if fio {
                image.prepare(case)?;
                let (done, microseconds) = case.by_fio(&image.0)?;
                rate.push(FIO, done);
                io.push(FIO, microseconds);
            }
        }
        let (natoma, qemu) = (Monitor::Natoma.name(), Monitor::Qemu.name());
        report.add(rate, &[(natoma, qemu, case.required), (natoma, FIO, case.of_limit)]);
        report.add(cpu, &[(natoma, qemu, Some(Bound::AtMost(1.0)))]);
        report.add(io, &[(natoma, qemu, Some(Bound::AtMost(1.0))), (natoma, FIO, None)]);
    }
    Ok(())
}

/// A file that is removed when it is dropped.
struct Image(PathBuf);

impl Image {
    /// Without holes, and in the page cache.
    fn make() -> Result<Self> {
        let image = Self(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench")).join("disk.img"));
        let mut file = File::create(&image.0).with_context(|| format!("can't make {}", image.0.display()))?;
        let mut block: Vec<u8> =
            (0..1_u32 << 18).flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        for number in 0..IMAGE / block.len() as u64 {
            block[..8].copy_from_slice(&number.to_le_bytes());
            file.write_all(&block)?;
        }
        file.sync_all()?;
        Ok(image)
    }

    /// Leaves nothing to be written, and has it in the page cache if the case goes through that.
    fn prepare(&self, case: &Case) -> Result<()> {
        let read = || -> io::Result<()> {
            let mut file = File::open(&self.0)?;
            file.sync_all()?;
            // One that goes past the page cache may leave some of it there.
            if !case.direct {
                io::copy(&mut file, &mut io::sink())?;
            }
            Ok(())
        };
        read().context("can't read the image")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // It is in the way of nobody.
        let _ = fs::remove_file(&self.0);
    }
}

/// What came of a case in a guest.
struct Done {
    /// Requests a second.
    rate: f64,
    /// Processor time of a request.
    microseconds: f64,
    /// That of all threads but the vCPU's.
    without_guest: f64,
    /// How long threads waited for a processor, as a part of the time that it took.
    waited: f64,
}

impl Case {
    fn in_guest(&self, monitors: &Monitors, monitor: Monitor, image: &Path) -> Result<Done> {
        let disk = match self.disk {
            Disk::Virtio => "virtio",
            Disk::IdeDma => "ide-dma",
            Disk::IdePio => "ide-pio",
        };
        let (operation, pattern) = (self.operation(), if self.random { "random" } else { "sequential" });
        let Self { count, size, depth, .. } = self;
        let append = format!("{disk} {operation} {pattern} count={count} size={size} depth={depth}");
        let mut command = monitors.guest(monitor, env!("NATOMA_GUEST_DISK"), &append);
        if monitor == Monitor::Qemu {
            command.args(["-bios", FIRMWARE]);
        }
        let cache = if self.direct { "none" } else { "writeback" };
        let drive = format!("format=raw,cache={cache},aio=io_uring,file={}", image.display());
        match self.disk {
            Disk::Virtio => {
                command.args(["-object", "iothread,id=io", "-device", "virtio-blk-pci,drive=disk,iothread=io"]);
                command.args(["-drive", &format!("if=none,id=disk,{drive}")]);
            }
            Disk::IdeDma | Disk::IdePio => {
                command.args(["-drive", &format!("if=ide,{drive}")]);
            }
        }
        // So that it is there to be looked at when it is done.
        command.args(["-name", "disk,debug-threads=on", "-no-shutdown"]);
        let mut watched = Watched::spawn(command, LIMIT)?;
        watched.line_with("disk begins")?;
        let before = busy(watched.id())?;
        let line = watched.line_with("disk ")?;
        let after = busy(watched.id())?;
        let value = |key: &str| -> Option<f64> {
            line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        };
        let nanoseconds = value("nanoseconds").with_context(|| format!("no result: {line}"))?;
        let count = *count as f64;
        let since = |of: fn(&Busy) -> Duration| of(&after).saturating_sub(of(&before)).as_secs_f64();
        Ok(Done {
            rate: count / nanoseconds * 1e9,
            microseconds: since(|busy| busy.guest + busy.others) * 1e6 / count,
            without_guest: since(|busy| busy.others) * 1e6 / count,
            waited: since(|busy| busy.waited) / nanoseconds * 1e9,
        })
    }

    /// As many such requests of the file, made by one thread: how many a second, and the processor time of one.
    fn by_fio(&self, image: &Path) -> Result<(f64, f64)> {
        let mut command = Command::new(FIO);
        let pattern = if self.random { "rand" } else { "" };
        command.args(["--name=limit", "--ioengine=io_uring", "--output-format=json"]);
        command.arg(format!("--filename={}", image.display()));
        command.arg(format!("--rw={pattern}{}", self.operation()));
        command.arg(format!("--bs={}", self.size)).arg(format!("--iodepth={}", self.depth));
        command.arg(format!("--direct={}", u8::from(self.direct)));
        command.arg(format!("--size={IMAGE}")).arg(format!("--io_size={}", self.count * self.size));
        // What is in the page cache stays there; and as the guest, it does not remember which places it has had.
        command.args(["--invalidate=0", "--norandommap"]);
        let output = command.stdin(Stdio::null()).output().context("can't start fio")?;
        if !output.status.success() {
            bail!("fio ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let result: Value = serde_json::from_slice(&output.stdout).context("fio does not tell its result")?;
        let job = &result["jobs"][0];
        let rate = job[self.operation()]["iops"].as_f64().context("fio tells no rate")?;
        let percent = job["usr_cpu"].as_f64().unwrap_or(f64::NAN) + job["sys_cpu"].as_f64().unwrap_or(f64::NAN);
        Ok((rate, percent / 100.0 * 1e6 / rate))
    }

    fn operation(&self) -> &'static str {
        if self.write { "write" } else { "read" }
    }
}

/// Processor time of a process.
#[derive(Default)]
struct Busy {
    /// Of the thread that runs the virtual CPU.
    guest: Duration,
    others: Duration,
    /// For how long its threads have waited for a processor.
    waited: Duration,
}

fn busy(process: u32) -> Result<Busy> {
    let mut busy = Busy::default();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        // A thread may end meanwhile.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        let Ok(times) = fs::read_to_string(task.join("schedstat")) else { continue };
        let mut times = times.split_ascii_whitespace().map_while(|word| word.parse().ok().map(Duration::from_nanos));
        let (Some(ran), Some(waited)) = (times.next(), times.next()) else { bail!("/proc tells no times of threads") };
        *(if name.trim() == VCPU { &mut busy.guest } else { &mut busy.others }) += ran;
        busy.waited += waited;
    }
    Ok(busy)
}

fn fio_is_there() -> bool {
    let there = Command::new(FIO).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !there {
        eprintln!("SKIPPED: fio is not installed, so disks are not compared with their files");
    }
    there
}

//! The human monitor's commands for processors and drives.

use anyhow::{Context as _, Result, bail};

use super::commands::Context;
use super::drives::Target;
use super::{Cpu, Medium, MediumChange, View, Writing};
use crate::config::{Throttle, ThrottleLimits};
use crate::scalar::parse_size;

/// The number of a processor: the chosen one if none is given.
fn processor(context: &Context<'_>, arguments: &[&str]) -> Result<u32> {
    match arguments {
        [] => Ok(*context.cpu),
        [number] => number.parse().with_context(|| format!("'{number}' is no number of a CPU")),
        _ => bail!("give one CPU at most"),
    }
}

/// `cpu INDEX`.
pub(super) fn choose_cpu(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [index] = arguments else { bail!("give the number of a CPU (see 'info cpus')") };
    let index = index.parse().ok().filter(|index| *index < context.machine.cpus());
    *context.cpu = index.context("invalid CPU index")?;
    Ok(String::new())
}

pub(super) fn registers(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let processors = match arguments {
        ["-a"] => 0..context.machine.cpus(),
        other => {
            let cpu = processor(context, other)?;
            cpu..cpu.saturating_add(1)
        }
    };
    let describe = |cpu| Ok(format!("\nCPU#{cpu}\n{}", context.machine.view(View::Registers(cpu))?));
    processors.map(describe).collect()
}

pub(super) fn local_apic(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    context.machine.view(View::LocalApic(processor(context, arguments)?))
}

pub(super) fn cpus(context: &Context<'_>) -> String {
    let line = |(index, cpu): (u32, Cpu)| {
        // The one that other commands look at if they are not told.
        let mark = if index == *context.cpu { '*' } else { ' ' };
        format!("{mark} CPU #{index}: thread_id={}\n", cpu.thread_id)
    };
    (0..).zip(context.machine.cpu_list()).map(line).collect()
}

pub(super) fn eject(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let (force, drive) = match arguments {
        ["-f", drive] => (true, drive),
        [drive] => (false, drive),
        _ => bail!("give a drive (see 'info block')"),
    };
    context.machine.change_medium(drive, MediumChange::Eject, force).map(|()| String::new())
}

pub(super) fn change(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let all = arguments.len();
    let arguments: Vec<_> = arguments.iter().copied().filter(|argument| *argument != "-f").collect();
    let (drive, medium) = parse_change(&arguments)?;
    let force = arguments.len() < all;
    context.machine.change_medium(drive, MediumChange::Insert(medium), force).map(|()| String::new())
}

/// `DRIVE FILE [FORMAT [MODE]]`.
fn parse_change<'a>(arguments: &[&'a str]) -> Result<(&'a str, Medium)> {
    let [drive, path, rest @ ..] = arguments else { bail!("give a drive (see 'info block') and a file") };
    let format = rest.first().map(|format| (*format).to_owned());
    let writing = match rest.get(1) {
        None | Some(&"retain") => Writing::Retain,
        Some(&"read-only") => Writing::Forbidden,
        Some(&"read-write") => Writing::Allowed,
        Some(other) => bail!("'{other}' is neither retain, read-only nor read-write"),
    };
    if rest.len() > 2 {
        bail!("there is no more to say than drive, file, format and mode");
    }
    Ok((drive, Medium { path: (*path).to_owned(), format, writing }))
}

pub(super) fn block_resize(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [drive, size] = arguments else { bail!("give a drive (see 'info block') and a size") };
    let bytes = parse_size(size, 1 << 20).with_context(|| format!("'{size}' is no size"))?;
    context.machine.nodes()?.resize(&Target::Drive((*drive).to_owned()), bytes).map(|()| String::new())
}

pub(super) fn block_set_io_throttle(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [name, numbers @ ..] = arguments else { bail!("give a drive (see 'info block') and six numbers") };
    if numbers.len() != 6 {
        bail!("give six numbers: BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR");
    }
    let mut limits = ThrottleLimits::default();
    let names = ["bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"];
    for (limit, number) in names.into_iter().zip(numbers) {
        limits.set(limit, parse_size(number, 1).with_context(|| format!("'{number}' is no number"))?);
    }
    limits.check().map_err(anyhow::Error::msg)?;
    let drives = context.machine.drives()?;
    let drive = drives.iter().find(|drive| drive.id == *name || drive.belongs_to(name));
    let drive = drive.with_context(|| format!("Device '{name}' not found"))?;
    context.machine.nodes()?.throttle(&drive.id, Throttle { group: None, limits }).map(|()| String::new())
}

pub(super) fn boot_set(context: &mut Context<'_>, arguments: &[&str]) -> Result<String> {
    let [order] = arguments else {
        bail!("give letters of devices: a and b floppies, c disk, d CD-ROM, n network");
    };
    context.machine.set_boot_order(order)?;
    Ok(format!("boot device list now set to {order}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_named_by_drive_file_format_and_mode() {
        let parse = |line: &'static str| parse_change(&line.split(' ').collect::<Vec<_>>());
        let medium = Medium { path: "a.img".into(), format: None, writing: Writing::Retain };
        assert_eq!(parse("floppy0 a.img").unwrap(), ("floppy0", medium.clone()));
        let raw = Medium { format: Some("raw".into()), writing: Writing::Forbidden, ..medium };
        assert_eq!(parse("floppy0 a.img raw read-only").unwrap(), ("floppy0", raw));
        for bad in ["floppy0", "floppy0 a.img raw maybe", "floppy0 a.img raw retain more"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

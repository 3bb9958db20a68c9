//! `-smp`: number and topology of the CPUs, with the inference rules of QEMU's `pc` since version 6.2.

use crate::cli::error::UsageError;
use crate::cli::settings::Settings;
use crate::config::Smp;

/// Reads `-smp`.
pub fn build(settings: &Settings) -> Result<Smp, UsageError> {
    let given = settings.merged("smp");
    // Each value is at most Smp::LIMIT (2^12), so products of four fit 64 bits.
    let number = |key| given.number::<u64>(key);
    let (cpus, max_cpus) = (number("cpus"), number("maxcpus"));
    let (mut sockets, mut cores, mut threads) = (number("sockets"), number("cores"), number("threads"));
    let dies = number("dies").unwrap_or(1);

    if let Some(all) = max_cpus.or(cpus) {
        // Cores are inferred first, then sockets, then threads.
        if cores.is_none() {
            cores = Some(all / (sockets.unwrap_or(1) * dies * threads.unwrap_or(1)));
        } else if sockets.is_none() {
            sockets = Some(all / (dies * cores.unwrap_or(1) * threads.unwrap_or(1)));
        } else if threads.is_none() {
            threads = Some(all / (sockets.unwrap_or(1) * dies * cores.unwrap_or(1)));
        }
    }
    // A quotient of 0 means that the given numbers are too large; the product then says so.
    let at_least_one = |number: Option<u64>| number.unwrap_or(1).max(1);
    let (sockets, cores, threads) = (at_least_one(sockets), at_least_one(cores), at_least_one(threads));
    let product = sockets * dies * cores * threads;
    let max_cpus = max_cpus.or(cpus).unwrap_or(product);
    let cpus = cpus.unwrap_or(max_cpus);

    let origin = given.any_origin(&["cpus", "maxcpus", "sockets", "dies", "cores", "threads"]);
    let error = |message: String| match origin {
        Some(origin) => origin.error(message),
        None => UsageError::general(message),
    };
    let topology =
        || format!("sockets ({sockets}) * dies ({dies}) * cores ({cores}) * threads ({threads}) is {product}");
    if product != max_cpus {
        return Err(error(format!(
            "{}, but the machine is to have {max_cpus} CPUs (maxcpus); change one of these, or leave one out to have it \
             inferred",
            topology()
        )));
    }
    if cpus > max_cpus {
        return Err(error(format!("{cpus} CPUs are more than maxcpus={max_cpus}; raise maxcpus or leave it out")));
    }
    let fit = |number: u64| u32::try_from(number).ok().filter(|number| *number <= Smp::LIMIT);
    match (fit(cpus), fit(max_cpus), fit(sockets), fit(dies), fit(cores), fit(threads)) {
        (Some(cpus), Some(max_cpus), Some(sockets), Some(dies), Some(cores), Some(threads)) => {
            Ok(Smp { cpus, max_cpus, sockets, dies, cores, threads })
        }
        _ => Err(error(format!("{}; KVM runs at most {} CPUs in a machine", topology(), Smp::LIMIT))),
    }
}

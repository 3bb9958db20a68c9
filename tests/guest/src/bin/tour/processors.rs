//! The processors: what they are, and starting all of them.

use alloc::{format, string::String, vec::Vec};
use core::{
    hint,
    sync::atomic::{AtomicU64, Ordering},
};

use guest::{
    cpu::{self, Cpu, Topology},
    lapic::LocalApic,
    println, smp, tsc,
};

use crate::{Machine, PATIENCE, Report, clocks::Rate};

/// Of more processors than this, those that cause no trouble are only counted.
const SHOWN: usize = 16;

/// The processor that is asked for its TSC, as its local APIC id plus one, and its answer.
static ASKED: AtomicU64 = AtomicU64::new(0);
static ANSWER: AtomicU64 = AtomicU64::new(0);

/// Prints what the processors are, and starts those that don't run yet. Returns the local APIC ids of those started.
pub(crate) fn show(machine: &Machine, rate: Option<Rate>, report: &mut Report) -> Vec<u32> {
    println!("\nProcessors");
    let (family, model, stepping) = cpu::family_model_stepping();
    println!("  {} family {family} model {model} stepping {stepping}", text(&cpu::vendor()));
    if let Some(brand) = cpu::brand() {
        println!("  called {:?}", text(&brand));
    }
    if let Some(hypervisor) = cpu::hypervisor() {
        println!("  under {:?}", text(&hypervisor));
    }
    let Some(lapic) = &machine.local_apic else {
        println!("  There is no local APIC, and so no way to start other processors.");
        return Vec::new();
    };
    let Some(platform) = &machine.platform else {
        println!("  There is neither a MADT nor an MP table: other processors are not described.");
        return Vec::new();
    };

    let topology = Topology::read();
    let own = lapic.id();
    let known: Vec<u32> = platform.processors().collect();
    let mut started = Vec::new();
    for (index, &id) in known.iter().enumerate() {
        let (fate, sound) = if id == own { (String::from("ran from the start"), true) } else { start(lapic, id, rate) };
        if id != own && sound {
            started.push(id);
        }
        if index < SHOWN || !sound {
            let (package, core, thread) = topology.place(id);
            let verdict = report.check(sound);
            println!(
                "  CPU {index:<3} APIC id {id:<4} package {package} core {core} thread {thread}  {fate}: {verdict}"
            );
        } else {
            report.check(true);
        }
    }
    if known.len() > SHOWN {
        println!("  ... and so on");
    }
    let all = report.check(known.contains(&own) && started.len() + 1 == known.len());
    println!("  {} of the {} in the {} are running: {all}", started.len() + 1, known.len(), platform.name());
    started
}

/// Starts a processor and compares its TSC with ours. Says what came of it, and whether that is as it should be.
fn start(lapic: &LocalApic, id: u32, rate: Option<Rate>) -> (String, bool) {
    let begin = tsc::now();
    if let Err(error) = smp::start(lapic, id, answer) {
        return (format!("not started: {error}"), false);
    }
    let taken = rate.map_or(String::new(), |rate| format!(" in {} us", rate.nanoseconds(tsc::since(begin)) / 1000));

    let asked = tsc::now();
    ASKED.store(u64::from(id) + 1, Ordering::Release);
    while ASKED.load(Ordering::Acquire) != 0 {
        if tsc::since(asked) > PATIENCE {
            return (format!("started{taken}, then silent"), false);
        }
        hint::spin_loop();
    }
    let answered = tsc::now();
    let in_step = (asked..=answered).contains(&ANSWER.load(Ordering::Relaxed));
    (format!("started{taken}, TSC {} step", if in_step { "in" } else { "out of" }), in_step)
}

/// What a started processor does, before it waits for interrupts.
fn answer(cpu: &'static Cpu) {
    // Who is asked is who the local APIC says it is, not who the firmware's table says it should be.
    let own = LocalApic::current().map_or(0, |lapic| lapic.id());
    if own != cpu.apic_id {
        return;
    }
    while ASKED.load(Ordering::Acquire) != u64::from(own) + 1 {
        hint::spin_loop();
    }
    ANSWER.store(tsc::now(), Ordering::Relaxed);
    ASKED.store(0, Ordering::Release);
}

/// What CPUID has as text, without the padding.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default().trim_matches(['\0', ' '])
}

//! CPUID of the processor that natoma runs on.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[cfg(test)]
use super::host::Table;
use super::leaves::Regs;

/// First of the extended leaves.
const EXTENDED: u32 = 0x8000_0000;

/// CPUID as user space of the host has it.
///
/// A result is read when it is first asked for, and once: on a host that is itself virtual each CPUID instruction is an exit
/// to *its* host, which takes microseconds.
#[derive(Debug, Clone)]
pub enum Native {
    /// The processor, with what it has been asked so far.
    Processor(RefCell<BTreeMap<(u32, u32), Regs>>),
    /// The results of another processor.
    #[cfg(test)]
    Recorded(Table),
}

impl Default for Native {
    /// The processor itself.
    fn default() -> Self {
        Self::Processor(RefCell::default())
    }
}

impl Native {
    /// Vendor string in the order EBX, EDX, ECX.
    #[must_use]
    pub fn vendor(&self) -> [u32; 3] {
        let Regs { ebx, ecx, edx, .. } = self.get(0, 0);
        [ebx, edx, ecx]
    }

    /// The result for one leaf and subleaf; zeros for a leaf that the processor does not have.
    #[must_use]
    pub fn get(&self, leaf: u32, subleaf: u32) -> Regs {
        match self {
            Self::Processor(seen) => {
                if let Some(&regs) = seen.borrow().get(&(leaf, subleaf)) {
                    return regs;
                }
                let first = leaf & EXTENDED;
                let regs = if leaf == first || (first..=self.get(first, 0).eax).contains(&leaf) {
                    read(leaf, subleaf)
                } else {
                    Regs::default()
                };
                seen.borrow_mut().insert((leaf, subleaf), regs);
                regs
            }
            #[cfg(test)]
            Self::Recorded(table) => table.get(leaf, subleaf),
        }
    }
}

fn read(leaf: u32, subleaf: u32) -> Regs {
    let result = std::arch::x86_64::__cpuid_count(leaf, subleaf);
    Regs { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_answers_the_same_again_and_has_no_leaves_beyond_its_last() {
        let native = Native::default();
        let last = native.get(0, 0).eax;
        assert_ne!(native.get(0, 0), Regs::default());
        assert_eq!(native.get(0, 0), read(0, 0));
        assert_eq!(native.get(0, 0), native.get(0, 0));
        // Intel's processors answer for a leaf beyond the last with the last one's data.
        assert_eq!(native.get(last + 1, 0), Regs::default());
        assert_eq!(native.get(native.get(EXTENDED, 0).eax + 1, 0), Regs::default());
    }
}

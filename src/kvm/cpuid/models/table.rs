//! The models themselves: facts, measured on QEMU 7.2 (`query-cpu-model-expansion`).

use super::super::cache;
use super::{AMD, Definition, HYGON, INTEL, PLAIN, SAME, Signature, Version};

/// Ordered so that a model follows the one it starts from.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "486",
        vendor: INTEL,
        signature: Signature { family: 4, model: 8, stepping: 0 },
        level: 1,
        xlevel: 0,
        features: "+fpu +pse +vme",
        ..PLAIN
    },
    Definition {
        name: "pentium",
        vendor: INTEL,
        signature: Signature { family: 5, model: 4, stepping: 3 },
        level: 1,
        xlevel: 0,
        parent: "486",
        features: "+apic +cx8 +de +mce +mmx +msr +tsc",
        ..PLAIN
    },
    Definition {
        name: "pentium2",
        vendor: INTEL,
        signature: Signature { family: 6, model: 5, stepping: 2 },
        level: 2,
        xlevel: 0,
        parent: "pentium",
        features: "+cmov +fxsr +mca +mtrr +pae +pat +pge +pse36 +sep",
        ..PLAIN
    },
    Definition {
        name: "pentium3",
        vendor: INTEL,
        signature: Signature { family: 6, model: 7, stepping: 3 },
        level: 3,
        xlevel: 0,
        parent: "pentium2",
        features: "+sse",
        ..PLAIN
    },
    Definition {
        name: "qemu32",
        vendor: INTEL,
        signature: Signature { family: 6, model: 6, stepping: 3 },
        level: 4,
        xlevel: 0x8000_0004,
        model_id: "QEMU Virtual CPU version 2.5+",
        parent: "pentium3",
        features: "+pni +sse2 -mca -mtrr -pse36 -vme",
        ..PLAIN
    },
    Definition {
        name: "kvm32",
        vendor: INTEL,
        signature: Signature { family: 15, model: 6, stepping: 1 },
        level: 5,
        xlevel: 0x8000_0008,
        model_id: "Common 32-bit KVM processor",
        parent: "qemu32",
        features: "+clflush +mca +mtrr +pse36 +vme",
        ..PLAIN
    },
    Definition {
        name: "kvm64",
        vendor: INTEL,
        signature: Signature { family: 15, model: 6, stepping: 1 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Common KVM processor",
        parent: "kvm32",
        features: "+cx16 +lm +nx +syscall",
        ..PLAIN
    },
    Definition {
        name: "qemu64",
        vendor: AMD,
        signature: Signature { family: 15, model: 107, stepping: 1 },
        level: 13,
        xlevel: 0x8000_000a,
        model_id: "QEMU Virtual CPU version 2.5+",
        parent: "kvm64",
        features: "+lahf-lm +svm -vme",
        ..PLAIN
    },
    Definition {
        name: "athlon",
        vendor: AMD,
        signature: Signature { family: 6, model: 2, stepping: 3 },
        level: 2,
        xlevel: 0x8000_0008,
        model_id: "QEMU Virtual CPU version 2.5+",
        parent: "pentium3",
        features: "+3dnow +3dnowext +mmxext +sse2",
        ..PLAIN
    },
    Definition {
        name: "coreduo",
        vendor: INTEL,
        signature: Signature { family: 6, model: 14, stepping: 8 },
        level: 10,
        xlevel: 0x8000_0008,
        model_id: "Genuine Intel(R) CPU           T2600  @ 2.16GHz",
        parent: "kvm32",
        features: "+acpi +monitor +nx +ss -pse36",
        ..PLAIN
    },
    Definition {
        name: "n270",
        vendor: INTEL,
        signature: Signature { family: 6, model: 28, stepping: 2 },
        level: 10,
        xlevel: 0x8000_0008,
        model_id: "Intel(R) Atom(TM) CPU N270   @ 1.60GHz",
        parent: "coreduo",
        features: "+lahf-lm +movbe +ssse3",
        ..PLAIN
    },
    Definition {
        name: "Conroe",
        vendor: INTEL,
        signature: Signature { family: 6, model: 15, stepping: 3 },
        level: 10,
        xlevel: 0x8000_0008,
        model_id: "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
        parent: "kvm64",
        features: "+lahf-lm +ssse3 -cx16",
        ..PLAIN
    },
    Definition {
        name: "core2duo",
        vendor: INTEL,
        signature: Signature { family: 6, model: 15, stepping: 11 },
        level: 10,
        xlevel: 0x8000_0008,
        model_id: "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
        parent: "Conroe",
        features: "+acpi +cx16 +monitor +ss",
        ..PLAIN
    },
    Definition {
        name: "Penryn",
        vendor: INTEL,
        signature: Signature { family: 6, model: 23, stepping: 3 },
        level: 10,
        xlevel: 0x8000_0008,
        model_id: "Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
        parent: "Conroe",
        features: "+cx16 +sse4.1",
        ..PLAIN
    },
    Definition {
        name: "Nehalem",
        vendor: INTEL,
        signature: Signature { family: 6, model: 26, stepping: 3 },
        level: 11,
        xlevel: 0x8000_0008,
        model_id: "Intel Core i7 9xx (Nehalem Class Core i7)",
        parent: "Penryn",
        features: "+popcnt +sse4.2",
        versions: &[Version {
            alias: Some("Nehalem-IBRS"),
            features: "+spec-ctrl",
            model_id: "Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
            ..SAME
        }],
        ..PLAIN
    },
    Definition {
        name: "Westmere",
        vendor: INTEL,
        signature: Signature { family: 6, model: 44, stepping: 1 },
        level: 11,
        xlevel: 0x8000_0008,
        model_id: "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
        parent: "Nehalem",
        features: "+aes +arat +pclmulqdq",
        versions: &[Version {
            alias: Some("Westmere-IBRS"),
            features: "+spec-ctrl",
            model_id: "Westmere E56xx/L56xx/X56xx (IBRS update)",
            ..SAME
        }],
        ..PLAIN
    },
    Definition {
        name: "SandyBridge",
        vendor: INTEL,
        signature: Signature { family: 6, model: 42, stepping: 1 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon E312xx (Sandy Bridge)",
        parent: "Westmere",
        features: "+avx +rdtscp +tsc-deadline +x2apic +xsave +xsaveopt",
        versions: &[Version {
            alias: Some("SandyBridge-IBRS"),
            features: "+spec-ctrl",
            model_id: "Intel Xeon E312xx (Sandy Bridge, IBRS update)",
            ..SAME
        }],
        ..PLAIN
    },
    Definition {
        name: "IvyBridge",
        vendor: INTEL,
        signature: Signature { family: 6, model: 58, stepping: 9 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon E3-12xx v2 (Ivy Bridge)",
        parent: "SandyBridge",
        features: "+erms +f16c +fsgsbase +rdrand +smep",
        versions: &[Version {
            alias: Some("IvyBridge-IBRS"),
            features: "+spec-ctrl",
            model_id: "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)",
            ..SAME
        }],
        ..PLAIN
    },
    Definition {
        name: "Haswell",
        vendor: INTEL,
        signature: Signature { family: 6, model: 60, stepping: 4 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Core Processor (Haswell)",
        parent: "IvyBridge",
        features: "+abm +avx2 +bmi1 +bmi2 +fma +hle +invpcid +movbe +pcid +rtm",
        versions: &[
            Version {
                alias: Some("Haswell-noTSX"),
                features: "-hle -rtm",
                model_id: "Intel Core Processor (Haswell, no TSX)",
                stepping: Some(1),
                ..SAME
            },
            Version {
                alias: Some("Haswell-IBRS"),
                features: "+hle +rtm +spec-ctrl",
                model_id: "Intel Core Processor (Haswell, IBRS)",
                stepping: Some(4),
                ..SAME
            },
            Version {
                alias: Some("Haswell-noTSX-IBRS"),
                features: "-hle -rtm",
                model_id: "Intel Core Processor (Haswell, no TSX, IBRS)",
                stepping: Some(1),
                ..SAME
            },
        ],
        ..PLAIN
    },
    Definition {
        name: "Broadwell",
        vendor: INTEL,
        signature: Signature { family: 6, model: 61, stepping: 2 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Core Processor (Broadwell)",
        parent: "Haswell",
        features: "+3dnowprefetch +adx +rdseed +smap",
        versions: &[
            Version {
                alias: Some("Broadwell-noTSX"),
                features: "-hle -rtm",
                model_id: "Intel Core Processor (Broadwell, no TSX)",
                ..SAME
            },
            Version {
                alias: Some("Broadwell-IBRS"),
                features: "+hle +rtm +spec-ctrl",
                model_id: "Intel Core Processor (Broadwell, IBRS)",
                ..SAME
            },
            Version {
                alias: Some("Broadwell-noTSX-IBRS"),
                features: "-hle -rtm",
                model_id: "Intel Core Processor (Broadwell, no TSX, IBRS)",
                ..SAME
            },
        ],
        ..PLAIN
    },
    Definition {
        name: "Skylake-Client",
        vendor: INTEL,
        signature: Signature { family: 6, model: 94, stepping: 3 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Core Processor (Skylake)",
        parent: "Broadwell",
        features: "+xgetbv1 +xsavec",
        versions: &[
            Version {
                alias: Some("Skylake-Client-IBRS"),
                features: "+spec-ctrl",
                model_id: "Intel Core Processor (Skylake, IBRS)",
                ..SAME
            },
            Version {
                alias: Some("Skylake-Client-noTSX-IBRS"),
                features: "-hle -rtm",
                model_id: "Intel Core Processor (Skylake, IBRS, no TSX)",
                ..SAME
            },
            Version { features: "+xsaves", note: "IBRS, XSAVES, no TSX", ..SAME },
        ],
        ..PLAIN
    },
    Definition {
        name: "Skylake-Server",
        vendor: INTEL,
        signature: Signature { family: 6, model: 85, stepping: 4 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon Processor (Skylake)",
        parent: "Skylake-Client",
        features: "+avx512bw +avx512cd +avx512dq +avx512f +avx512vl +clflushopt +clwb +pdpe1gb +pku",
        versions: &[
            Version {
                alias: Some("Skylake-Server-IBRS"),
                features: "+spec-ctrl -clflushopt",
                model_id: "Intel Xeon Processor (Skylake, IBRS)",
                ..SAME
            },
            Version {
                alias: Some("Skylake-Server-noTSX-IBRS"),
                features: "-hle -rtm",
                model_id: "Intel Xeon Processor (Skylake, IBRS, no TSX)",
                ..SAME
            },
            Version { note: "IBRS, EPT switching, no TSX", ..SAME },
            Version { features: "+xsaves", note: "IBRS, XSAVES, EPT switching, no TSX", ..SAME },
        ],
        ..PLAIN
    },
    Definition {
        name: "Cascadelake-Server",
        vendor: INTEL,
        signature: Signature { family: 6, model: 85, stepping: 6 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon Processor (Cascadelake)",
        parent: "Skylake-Server",
        features: "+avx512vnni +spec-ctrl +ssbd",
        versions: &[
            Version {
                features: "+arch-capabilities +ibrs-all +mds-no +rdctl-no +skip-l1dfl-vmentry",
                note: "ARCH_CAPABILITIES",
                ..SAME
            },
            Version {
                alias: Some("Cascadelake-Server-noTSX"),
                features: "-hle -rtm",
                note: "ARCH_CAPABILITIES, no TSX",
                ..SAME
            },
            Version { note: "ARCH_CAPABILITIES, EPT switching, no TSX", ..SAME },
            Version { features: "+xsaves", note: "ARCH_CAPABILITIES, EPT switching, XSAVES, no TSX", ..SAME },
        ],
        ..PLAIN
    },
    Definition {
        name: "Cooperlake",
        vendor: INTEL,
        signature: Signature { family: 6, model: 85, stepping: 10 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon Processor (Cooperlake)",
        parent: "Cascadelake-Server",
        features: "+arch-capabilities +avx512-bf16 +ibrs-all +mds-no +pschange-mc-no +rdctl-no \
                   +skip-l1dfl-vmentry +stibp +taa-no",
        versions: &[Version { features: "+xsaves", note: "XSAVES", ..SAME }],
        ..PLAIN
    },
    Definition {
        name: "Icelake-Server",
        vendor: INTEL,
        signature: Signature { family: 6, model: 134, stepping: 0 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon Processor (Icelake)",
        parent: "Cascadelake-Server",
        features: "+avx512-vpopcntdq +avx512bitalg +avx512vbmi +avx512vbmi2 +gfni +la57 +umip +vaes +vpclmulqdq \
                   +wbnoinvd",
        versions: &[
            Version { alias: Some("Icelake-Server-noTSX"), features: "-hle -rtm", note: "no TSX", ..SAME },
            Version {
                features: "+arch-capabilities +ibrs-all +mds-no +pschange-mc-no +rdctl-no +skip-l1dfl-vmentry \
                               +taa-no",
                ..SAME
            },
            Version { features: "+avx512ifma +fsrm +rdpid +sha-ni", model: Some(106), ..SAME },
            Version { features: "+xsaves", note: "XSAVES", ..SAME },
            Version { note: "5-level EPT", ..SAME },
        ],
        ..PLAIN
    },
    Definition {
        name: "Denverton",
        vendor: INTEL,
        signature: Signature { family: 6, model: 95, stepping: 1 },
        level: 21,
        xlevel: 0x8000_0008,
        model_id: "Intel Atom Processor (Denverton)",
        parent: "Skylake-Client",
        features: "+arch-capabilities +clflushopt +monitor +mpx +pdpe1gb +rdctl-no +sha-ni +skip-l1dfl-vmentry \
                   +spec-ctrl +ssbd -abm -adx -avx -avx2 -bmi1 -bmi2 -f16c -fma -hle -invpcid -pcid -rtm",
        versions: &[
            Version { features: "-monitor -mpx", note: "no MPX, no MONITOR", ..SAME },
            Version { features: "+xsaves", note: "XSAVES, no MPX, no MONITOR", ..SAME },
        ],
        ..PLAIN
    },
    Definition {
        name: "Snowridge",
        vendor: INTEL,
        signature: Signature { family: 6, model: 134, stepping: 1 },
        level: 27,
        xlevel: 0x8000_0008,
        model_id: "Intel Atom Processor (SnowRidge)",
        parent: "Denverton",
        features: "+cldemote +clwb +core-capability +gfni +movdir64b +movdiri +split-lock-detect +umip -rdctl-no \
                   -skip-l1dfl-vmentry",
        versions: &[
            Version { features: "-mpx", model_id: "Intel Atom Processor (Snowridge, no MPX)", ..SAME },
            Version { features: "+xsaves", note: "XSAVES, no MPX", ..SAME },
            Version {
                features: "-core-capability -split-lock-detect",
                note: "no split lock detect, no core-capability",
                ..SAME
            },
        ],
        ..PLAIN
    },
    Definition {
        name: "KnightsMill",
        vendor: INTEL,
        signature: Signature { family: 6, model: 133, stepping: 0 },
        level: 13,
        xlevel: 0x8000_0008,
        model_id: "Intel Xeon Phi Processor (Knights Mill)",
        parent: "Broadwell",
        features: "+avx512-4fmaps +avx512-4vnniw +avx512-vpopcntdq +avx512cd +avx512er +avx512f +avx512pf \
                   +pdpe1gb +ss -hle -invpcid -pcid -rtm -smap",
        ..PLAIN
    },
    Definition {
        name: "Opteron_G1",
        vendor: AMD,
        signature: Signature { family: 15, model: 6, stepping: 1 },
        level: 5,
        xlevel: 0x8000_0008,
        model_id: "AMD Opteron 240 (Gen 1 Class Opteron)",
        parent: "kvm64",
        features: "-cx16",
        ..PLAIN
    },
    Definition {
        name: "Opteron_G2",
        vendor: AMD,
        signature: Signature { family: 15, model: 6, stepping: 1 },
        level: 5,
        xlevel: 0x8000_0008,
        model_id: "AMD Opteron 22xx (Gen 2 Class Opteron)",
        parent: "Opteron_G1",
        features: "+cx16 +lahf-lm +svm",
        ..PLAIN
    },
    Definition {
        name: "Opteron_G3",
        vendor: AMD,
        signature: Signature { family: 16, model: 2, stepping: 3 },
        level: 5,
        xlevel: 0x8000_0008,
        model_id: "AMD Opteron 23xx (Gen 3 Class Opteron)",
        parent: "Opteron_G2",
        features: "+abm +misalignsse +monitor +popcnt +rdtscp +sse4a",
        ..PLAIN
    },
    Definition {
        name: "phenom",
        vendor: AMD,
        signature: Signature { family: 16, model: 2, stepping: 3 },
        level: 5,
        xlevel: 0x8000_001a,
        model_id: "AMD Phenom(tm) 9550 Quad-Core Processor",
        parent: "Opteron_G3",
        features: "+3dnow +3dnowext +fxsr-opt +mmxext +npt +pdpe1gb -misalignsse",
        ..PLAIN
    },
    Definition {
        name: "Opteron_G4",
        vendor: AMD,
        signature: Signature { family: 21, model: 1, stepping: 2 },
        level: 13,
        xlevel: 0x8000_001a,
        model_id: "AMD Opteron 62xx class CPU",
        parent: "Opteron_G3",
        features: "+3dnowprefetch +aes +avx +fma4 +npt +nrip-save +pclmulqdq +pdpe1gb +sse4.1 +sse4.2 +ssse3 +xop \
                   +xsave -monitor",
        ..PLAIN
    },
    Definition {
        name: "Opteron_G5",
        vendor: AMD,
        signature: Signature { family: 21, model: 2, stepping: 0 },
        level: 13,
        xlevel: 0x8000_001a,
        model_id: "AMD Opteron 63xx class CPU",
        parent: "Opteron_G4",
        features: "+f16c +fma +tbm",
        ..PLAIN
    },
    Definition {
        name: "EPYC",
        vendor: AMD,
        signature: Signature { family: 23, model: 1, stepping: 2 },
        level: 13,
        xlevel: 0x8000_001e,
        model_id: "AMD EPYC Processor",
        caches: Some(&cache::EPYC),
        parent: "Opteron_G5",
        features: "+adx +arat +avx2 +bmi1 +bmi2 +clflushopt +cr8legacy +fsgsbase +fxsr-opt +mmxext +monitor \
                   +movbe +osvw +rdrand +rdseed +sha-ni +smap +smep +topoext +xgetbv1 +xsavec +xsaveopt -fma4 \
                   -tbm -xop",
        versions: &[
            Version { alias: Some("EPYC-IBPB"), features: "+ibpb", model_id: "AMD EPYC Processor (with IBPB)", ..SAME },
            Version { features: "+clzero +perfctr-core +xsaveerptr +xsaves", model_id: "AMD EPYC Processor", ..SAME },
        ],
    },
    Definition {
        name: "EPYC-Rome",
        vendor: AMD,
        signature: Signature { family: 23, model: 49, stepping: 0 },
        level: 13,
        xlevel: 0x8000_001e,
        model_id: "AMD EPYC-Rome Processor",
        caches: Some(&cache::EPYC_ROME),
        parent: "EPYC",
        features: "+amd-stibp +clwb +clzero +ibpb +perfctr-core +rdpid +umip +wbnoinvd +xsaveerptr +xsaves",
        versions: &[Version { features: "+amd-ssbd +ibrs", ..SAME }],
    },
    Definition {
        name: "EPYC-Milan",
        vendor: AMD,
        signature: Signature { family: 25, model: 1, stepping: 1 },
        level: 13,
        xlevel: 0x8000_001e,
        model_id: "AMD EPYC-Milan Processor",
        caches: Some(&cache::EPYC_MILAN),
        parent: "EPYC-Rome",
        features: "+amd-ssbd +erms +fsrm +ibrs +invpcid +pcid +pku +svme-addr-chk",
        ..PLAIN
    },
    Definition {
        name: "Dhyana",
        vendor: HYGON,
        signature: Signature { family: 24, model: 0, stepping: 1 },
        level: 13,
        xlevel: 0x8000_001e,
        model_id: "Hygon Dhyana Processor",
        caches: Some(&cache::EPYC),
        parent: "EPYC",
        features: "+ibpb -aes -pclmulqdq -sha-ni",
        versions: &[Version { features: "+xsaves", note: "XSAVES", ..SAME }],
    },
];

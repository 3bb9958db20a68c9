//! NUMA.

use super::{Argument, OptionSpec, Section};
use crate::cli::keyval::{Key, Kind, Schema, Variant};
use crate::config::{NumaConfig, Smp};

const NODE: Kind = Kind::Number(0, NumaConfig::MOST_NODES as u64 - 1);
const PLACE: Kind = Kind::Number(0, Smp::LIMIT as u64 - 1);

const NUMA: Schema = Schema {
    implied: Some("type"),
    keys: &[],
    variants: &[
        Variant {
            name: "node",
            help: "a node",
            keys: &[
                Key::new("nodeid", NODE, "its number (default: the next)"),
                Key::new("cpus", Kind::Text("N[-N]"), "numbers of processors in it; may be given several times"),
                Key::new("mem", Kind::Size(1 << 20), "its memory; without a suffix in MiB"),
                Key::new("memdev", Kind::Text("ID"), "the memory backend (-object) that is its memory, instead of mem"),
                Key::missing("initiator", &[], "natoma has no table of memory attributes (HMAT)"),
            ],
        },
        Variant {
            name: "cpu",
            help: "the node of processors, by their place",
            keys: &[
                Key::new("node-id", NODE, "the node: must be given"),
                Key::new("socket-id", PLACE, "their socket (default: every)"),
                Key::new("die-id", PLACE, "their die in the socket (default: every)"),
                Key::new("core-id", PLACE, "their core in the die (default: every)"),
                Key::new("thread-id", PLACE, "their thread in the core (default: every)"),
            ],
        },
        Variant {
            name: "dist",
            help: "how far it is from one node to another",
            keys: &[
                Key::new("src", NODE, "from this node: must be given"),
                Key::new("dst", NODE, "to this node: must be given"),
                Key::new(
                    "val",
                    Kind::Number(10, 255),
                    "10 is the distance of a node to itself, 255: no way; must be given",
                ),
            ],
        },
    ],
    aliases: &[],
    variant_noun: "kind of NUMA setting",
    missing_variants: &[(&["hmat-lb", "hmat-cache"], "natoma has no table of memory attributes (HMAT): use dist")],
    json: true,
};

pub(super) const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "numa",
    Argument::List("node|cpu|dist[,KEY=VALUE...]", &NUMA),
    Section::Machine,
    "divide processors and memory into NUMA nodes",
)
.group("numa")
.details(
    "Nodes are defined before anything refers to them. The memory of all nodes together is that of `-m`, which may be left out \
     where the nodes have memory backends; a single node has all of it. Processors that are given no node sit in that of their socket: sockets go round the nodes. Of a distance that is \
     given in one direction only the other is the same.",
)];

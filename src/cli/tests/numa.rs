//! `-numa`.

use super::*;

#[test]
fn nodes_have_processors_memory_and_distances() {
    assert_eq!(machine("-m 64").numa, NumaConfig::default());
    let one = machine("-m 64 -smp 2 -numa node").numa;
    assert_eq!(one, NumaConfig { memory: vec![64 << 20], cpus: vec![0, 0], distances: Vec::new() });

    let by_socket = machine("-m 64 -smp 4,sockets=4 -numa node,mem=16 -numa node,mem=48").numa;
    assert_eq!(by_socket.cpus, [0, 1, 0, 1]);

    let numa = machine(
        "-m 64 -smp 4,sockets=2,cores=2 -numa node,nodeid=1,mem=16,cpus=0,cpus=2-3 -numa node,mem=48M -numa \
         cpu,node-id=0,socket-id=0,core-id=1 -numa dist,src=0,dst=1,val=40 -numa dist,src=1,dst=0,val=50",
    )
    .numa;
    let distances = vec![vec![10, 40], vec![50, 10]];
    assert_eq!(numa, NumaConfig { memory: vec![48 << 20, 16 << 20], cpus: vec![1, 0, 1, 1], distances });
    let mirrored = machine("-m 64 -numa node,mem=64 -numa node -numa dist,src=1,dst=0,val=50").numa;
    assert_eq!(mirrored.distances, [[10, 50], [50, 10]]);
}

/// As libvirt writes it.
#[test]
fn nodes_bring_their_memory() {
    let machine = machine(
        "-m 96 -object memory-backend-ram,id=ram-node1,size=33554432 -object memory-backend-memfd,id=ram-node0,size=64M \
         -object memory-backend-ram,id=spare,size=1M -numa node,nodeid=1,memdev=ram-node1 -numa \
         node,nodeid=0,cpus=0,memdev=ram-node0 -numa node,nodeid=2",
    );
    assert_eq!(machine.numa.memory, [64 << 20, 32 << 20, 0]);
    let ids = |backends: &[MemoryBackend]| Vec::from_iter(backends.iter().map(|backend| backend.id.clone()));
    assert_eq!(ids(&machine.memory.ram), ["ram-node0", "ram-node1"]);
    assert_eq!(ids(&machine.memory.spare), ["spare"]);
    assert_eq!(machine.memory.size(), 96 << 20);
}

#[test]
fn nodes_that_contradict_themselves_are_refused() {
    check_errors(&[
        ("-numa node,mem=1G", "-numa node,mem=1G: the nodes have 1G of memory together, and the machine has 128M"),
        ("-numa node -numa node", "-numa node: the nodes have 0 of memory together, and the machine has 128M"),
        ("-numa node,nodeid=1", "-numa node,nodeid=1: node 0 is missing"),
        ("-numa node -numa node,nodeid=0", "-numa node,nodeid=0: node 0 is defined already"),
        ("-numa node,cpus=1", "-numa node,cpus=1: cpus=1: the machine has room for CPUs 0 to 0"),
        ("-numa node,cpus=3-1", "-numa node,cpus=3-1: cpus=3-1: expected a number, or two as in 0-3"),
        ("-numa node,memdev=a", "-numa node,memdev=a: memdev=a: there is no such memory backend"),
        (
            "-object memory-backend-ram,id=a,size=64M -numa node,memdev=a -numa node,memdev=a",
            "-numa node,memdev=a: memdev=a: there is no such memory backend, or another node has it",
        ),
        (
            "-object memory-backend-ram,id=a,size=64M -numa node,memdev=a -numa node,mem=64M",
            "-numa node,mem=64M: give all nodes memory by memdev=, or all by mem=",
        ),
        (
            "-object memory-backend-ram,id=a,size=64M -numa node,memdev=a -m 128M",
            "-m 128M: this is 128M, but the memory backends of the NUMA nodes have 64M together",
        ),
        (
            "-object memory-backend-ram,id=a,size=64M -numa node,memdev=a -mem-path /x",
            "-mem-path /x: the nodes of -numa bring their memory",
        ),
        (
            "-object memory-backend-ram,id=a,size=64M -numa node,memdev=a -machine memory-backend=a",
            "-machine memory-backend=a: the nodes of -numa bring their memory",
        ),
        ("-numa dist,src=0,dst=0,val=10", "-numa dist,src=0,dst=0,val=10: src=0: there is no such node"),
        ("-numa node -numa dist,src=0,dst=0,val=20", "-numa dist,src=0,dst=0,val=20: 10 is the distance"),
        ("-numa node -numa cpu,node-id=0,socket-id=7", "-numa cpu,node-id=0,socket-id=7: the machine has no CPU at"),
        ("-numa cpu,socket-id=0", "-numa cpu,socket-id=0: 'node-id' is missing"),
        ("-numa hmat-lb,initiator=0", "-numa hmat-lb,initiator=0: the kind of NUMA setting 'hmat-lb' is not supported"),
    ]);
}

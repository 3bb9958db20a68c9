//! Departures of particular hosts from what KVM documents, each found by a probe and made good here.

//! Invariant: no bytes make the reader of a Bolt database fall or run on; what it understands of a network file is
//! within the bounds of its subnets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::network::definition::Definition;
use runtime::network::ipam::bolt;

fuzz_target!(|data: &[u8]| {
    let _ = bolt::read(data);
    let Ok(network) = Definition::parse(data) else {
        return;
    };
    for subnet in &network.subnets {
        let (first, last) = subnet.lease_range();
        assert!(subnet.range.contains(first) && subnet.range.contains(last));
    }
});

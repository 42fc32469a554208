//! The addresses that containers have on the host's networks: `ipam.db`, which Podman and Buildah
//! share.
//!
//! It is a Bolt database. Each network has a bucket by its name, with a bucket `ids` (a container to
//! a JSON array of its addresses) and one for each subnet (an address, 4 or 16 bytes, to its
//! container; `lastIP` to the address given out last).

pub mod bolt;

use std::net::IpAddr;
use std::path::Path;

use bolt::{BoltError, Bucket, Database};

use super::counting::{like, number};
use super::definition::{Definition, Subnet};

const IDS: &[u8] = b"ids";
const LAST: &[u8] = b"lastIP";

/// Why no address could be given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpamError {
    /// The database cannot be used.
    #[error("cannot use the addresses of the host's networks")]
    Database(#[from] BoltError),
    /// Every address of a subnet is taken.
    #[error("failed to find free IP in range: {first} - {last}")]
    Full {
        /// The first address that can be given out.
        first: IpAddr,
        /// The last one.
        last: IpAddr,
    },
}

/// Gives `container` an address in each subnet of each network that has its addresses from the
/// host. Returns them network by network.
///
/// # Errors
/// When a subnet is full or the database cannot be used; nothing is given out then.
pub fn allocate(
    database: &Path,
    networks: &[Definition],
    container: &str,
) -> Result<Vec<Vec<IpAddr>>, IpamError> {
    let mut database = Database::open(database)?;
    let mut given = Vec::new();
    for network in networks {
        let mut addresses = Vec::new();
        if network.gives_addresses() {
            let bucket = database.root.bucket(network.name.as_bytes());
            for subnet in &network.subnets {
                let taken = bucket.bucket(subnet.range.to_string().as_bytes());
                let address = free_address(taken, subnet)?;
                taken.values.insert(LAST.to_vec(), key(address));
                taken
                    .values
                    .insert(key(address), container.as_bytes().to_vec());
                addresses.push(address);
            }
            let json = serde_json::json!(addresses).to_string();
            let ids = bucket.bucket(IDS);
            ids.values
                .insert(container.as_bytes().to_vec(), json.into_bytes());
        }
        given.push(addresses);
    }
    database.save()?;
    Ok(given)
}

/// Says whether `container` has addresses.
///
/// # Errors
/// When the database cannot be used.
pub fn holds(database: &Path, container: &str) -> Result<bool, IpamError> {
    if !database.exists() {
        return Ok(false);
    }
    let database = Database::open(database)?;
    let ids = |network: &Bucket| {
        let ids = network.buckets.get(IDS);
        ids.is_some_and(|ids| ids.values.contains_key(container.as_bytes()))
    };
    Ok(database.root.buckets.values().any(ids))
}

/// Takes all addresses of `container` back, whatever became of their networks.
///
/// # Errors
/// When the database cannot be used.
pub fn release(database: &Path, container: &str) -> Result<(), IpamError> {
    if !database.exists() {
        return Ok(());
    }
    let mut database = Database::open(database)?;
    let before = database.root.clone();
    for network in database.root.buckets.values_mut() {
        for (name, bucket) in &mut network.buckets {
            if name == IDS {
                bucket.values.remove(container.as_bytes());
            } else {
                let values = &mut bucket.values;
                values.retain(|name, owner| name == LAST || owner != container.as_bytes());
            }
        }
    }
    if database.root != before {
        database.save()?;
    }
    Ok(())
}

/// Finds the address after the one given out last, beginning again behind the end.
fn free_address(taken: &Bucket, subnet: &Subnet) -> Result<IpAddr, IpamError> {
    let (first, last) = subnet.lease_range();
    let full = || IpamError::Full { first, last };
    let (low, high) = (number(first), number(last));
    let size = high.checked_sub(low).ok_or_else(full)?;
    let before = taken.values.get(LAST).and_then(|bytes| address(bytes));
    let start = match before.map(number) {
        Some(before) if before >= low && before < high => before - low + 1,
        _ => 0,
    };
    // Between two free addresses there are no more taken ones than there are keys.
    let tries = (taken.values.len() as u128 + 2).min(size + 1);
    for step in 0..tries {
        let offset = match start.checked_add(step) {
            Some(offset) if offset <= size => offset,
            _ => step - (size + 1 - start),
        };
        let candidate = like(first, low + offset);
        let is_gateway = subnet.gateway == Some(candidate);
        if !is_gateway && !taken.values.contains_key(&key(candidate)) {
            return Ok(candidate);
        }
    }
    Err(full())
}

fn key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(subnet: &str) -> Definition {
        let text = json!({
            "name": "n", "id": "0".repeat(64), "driver": "bridge",
            "subnets": [{"subnet": subnet, "gateway": "10.0.0.1"}],
        });
        Definition::parse(text.to_string().as_bytes()).expect("a network")
    }

    #[test]
    fn addresses_go_round() {
        let name = format!("cooper-ipam-{}", std::process::id());
        let database = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&database);
        let networks = [network("10.0.0.0/29")];
        let take = |id: &str| match allocate(&database, &networks, id) {
            Ok(given) => given[0][0].to_string(),
            Err(error) => error.to_string(),
        };
        for (id, expected) in [("a", "10.0.0.2"), ("b", "10.0.0.3"), ("c", "10.0.0.4")] {
            assert_eq!(take(id), expected);
        }
        release(&database, "b").expect("released");
        for (id, expected) in [("d", "10.0.0.5"), ("e", "10.0.0.6"), ("f", "10.0.0.3")] {
            assert_eq!(take(id), expected);
        }
        assert_eq!(
            take("g"),
            "failed to find free IP in range: 10.0.0.1 - 10.0.0.6"
        );
        release(&database, "f").expect("released");
        release(&database, "nobody").expect("nothing to do");
        assert_eq!(take("g"), "10.0.0.3");
        std::fs::remove_file(database).expect("removed");
    }
}

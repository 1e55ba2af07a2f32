//! What a process that takes part is told: which system, which of the three members, and where.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::peers::System;

/// Members of a cluster.
pub(crate) const MEMBERS: usize = 3;

/// The place of one member in a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// What the cluster is made of.
    pub(crate) system: System,
    /// Which of the members, from 0.
    pub(crate) number: usize,
    /// A directory of the cluster, with room for each member.
    pub(crate) dir: PathBuf,
    /// Where each member listens.
    pub(crate) addresses: [Addresses; MEMBERS],
}

/// Where one member listens. mosaik needs neither: its members find each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// To clients.
    pub(crate) clients: SocketAddr,
    /// To other members.
    pub(crate) members: SocketAddr,
}

impl Seat {
    /// Places for all members of a cluster in a directory.
    pub(crate) fn all(system: System, dir: PathBuf) -> anyhow::Result<Vec<Self>> {
        let addresses = free_addresses()?;
        let seat = |number| Self {
            system,
            number,
            dir: dir.clone(),
            addresses,
        };
        Ok((0..MEMBERS).map(seat).collect())
    }

    /// Its own directory.
    pub(crate) fn own_dir(&self) -> PathBuf {
        self.dir.join(self.number.to_string())
    }

    /// Its own addresses.
    pub(crate) fn own_addresses(&self) -> Addresses {
        self.addresses[self.number]
    }
}

/// Ports that nobody uses just now, all different since all are held at once.
fn free_addresses() -> anyhow::Result<[Addresses; MEMBERS]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let mut held = vec![];
    for _ in 0..MEMBERS {
        held.push((listen()?, listen()?));
    }
    let addresses = held.iter().map(|(clients, members)| {
        anyhow::Ok(Addresses {
            clients: clients.local_addr()?,
            members: members.local_addr()?,
        })
    });
    let addresses: Vec<_> = addresses.collect::<Result<_, _>>()?;
    let addresses = addresses.try_into();
    Ok(addresses.expect("as many as there are members"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_listen_on_one_port() -> anyhow::Result<()> {
        let seats = Seat::all(System::Etcd, "somewhere".into())?;
        let addresses = seats.iter().map(Seat::own_addresses);
        let addresses: BTreeSet<_> = addresses
            .flat_map(|own| [own.clients, own.members])
            .collect();
        assert_eq!(addresses.len(), 2 * MEMBERS);
        Ok(())
    }
}

//! What a group knows of the program that it runs here.

use std::{collections::BTreeMap, sync::Arc};

use super::{Application, interface::InterfaceError};
use crate::groups::{error::Refusal, proto::versions::Announced};

/// What a group knows of the program that it runs here.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Whether its commands travel by name, so that it may know others than the programs of other members.
    named: bool,
    announced: Arc<Announced>,
    names: BTreeMap<u64, &'static str>,
}

impl Program {
    /// The program of an application, and the digest of what all members must have alike.
    ///
    /// # Errors
    /// When it cannot be compared with others.
    pub(crate) fn of<M: Application>() -> Result<(Self, [u8; 32]), InterfaceError> {
        let interface = M::interface();
        let fingerprint = interface.fingerprint()?;
        let program = Self {
            named: M::NAMED,
            announced: Arc::new(interface.announced()?),
            names: interface.names(),
        };
        Ok((program, fingerprint))
    }

    /// Whether its commands travel by name.
    pub(crate) fn is_named(&self) -> bool {
        self.named
    }

    /// What it tells other members that it knows.
    pub(crate) fn announced(&self) -> &Arc<Announced> {
        &self.announced
    }

    /// Compares what another program knows with what this one does: what both know takes and returns the same types.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn compare(&self, other: &Announced) -> Result<(), Refusal> {
        match self.announced.contradicts(other) {
            None => Ok(()),
            Some(number) => Err(Refusal::Signature {
                method: self.name(number),
            }),
        }
    }

    /// What a command or query is called; its number, if it is none of this program.
    pub(crate) fn name(&self, number: u64) -> String {
        match self.names.get(&number) {
            Some(name) => (*name).into(),
            None => format!("{number:016x}"),
        }
    }

    /// Takes `announced` for this program's own if it is the same, so that what a thousand members say is kept once.
    pub(crate) fn share(&self, announced: &mut Arc<Announced>) {
        if *announced == self.announced {
            *announced = self.announced.clone();
        }
    }
}

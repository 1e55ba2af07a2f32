//! Commands and queries by name, as the handles that `#[mosaik::group]` makes send them.

use std::{fmt, marker::PhantomData};

use futures::{FutureExt as _, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    GroupError,
    caller::{Caller, append, decode_all, too_many},
    group::Group,
    group_client::GroupClient,
    machine::MAX_COMMANDS,
    packed::packed,
};

/// Commands to be applied together: the number of each and its arguments, one after the other.
#[derive(Debug, Default)]
struct Calls {
    count: u32,
    bytes: Vec<u8>,
}

impl Calls {
    fn push<A: Serialize>(&mut self, number: u64, arguments: &A) -> Result<(), GroupError> {
        if self.count >= MAX_COMMANDS {
            return Err(too_many(self.count as usize + 1));
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = append_call(bytes, number, arguments)?;
        self.count += 1;
        Ok(())
    }
}

fn append_call<A: Serialize>(
    mut bytes: Vec<u8>,
    number: u64,
    arguments: &A,
) -> Result<Vec<u8>, GroupError> {
    bytes.extend_from_slice(&number.to_le_bytes());
    append(bytes, arguments)
}

impl Caller {
    fn call<A: Serialize, T: DeserializeOwned + Send + 'static>(
        self,
        number: u64,
        arguments: &A,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<A, T> {
        self.call_if(number, arguments, &|_| Ok(()), decode_all)
    }

    /// The same, if as many bytes of arguments may be sent; `finish` makes something of the answer.
    fn call_if<A: Serialize, T: Send + 'static, F>(
        self,
        number: u64,
        arguments: &A,
        may: &dyn Fn(usize) -> Result<(), GroupError>,
        finish: F,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<A, T, F>
    where
        F: FnOnce(&[u8]) -> Result<T, GroupError> + Send + 'static,
    {
        let command = packed(|bytes| append_call(bytes, number, arguments));
        let command = command.and_then(|command| {
            may(command.len() - size_of_val(&number))?;
            Ok(command)
        });
        async move { self.run(1, command?, finish).await }
    }

    fn call_many<A: Serialize, T: DeserializeOwned + Send + 'static>(
        self,
        number: u64,
        arguments: impl IntoIterator<Item = A>,
    ) -> BoxFuture<'static, Result<Vec<T>, GroupError>> {
        let mut calls = Calls::default();
        for each in arguments {
            if let Err(error) = calls.push(number, &each) {
                return std::future::ready(Err(error)).boxed();
            }
        }
        if calls.count == 0 {
            return std::future::ready(Ok(Vec::new())).boxed();
        }
        self.run_all(calls.count, calls.bytes.into()).boxed()
    }

    fn begin<'a, M>(self) -> Batch<'a, M> {
        Batch {
            caller: self,
            calls: Ok(Calls::default()),
            outputs: PhantomData,
        }
    }
}

/// What the handles of both kinds send commands with.
macro_rules! calls {
    ($handle:ident) => {
        impl<M: Send + Sync> $handle<M> {
            /// Applies one command, which is encoded before this returns.
            #[doc(hidden)]
            pub fn call<A: Serialize, T: DeserializeOwned + Send + 'static>(
                &self,
                number: u64,
                arguments: &A,
            ) -> impl Future<Output = Result<T, GroupError>> + Send + use<M, A, T> {
                self.caller().call(number, arguments)
            }

            /// Applies one command many times, as one entry, which is encoded before this returns; nothing is sent
            /// if it is empty.
            #[doc(hidden)]
            pub fn call_many<A: Serialize, T: DeserializeOwned + Send + 'static>(
                &self,
                number: u64,
                arguments: impl IntoIterator<Item = A>,
            ) -> BoxFuture<'_, Result<Vec<T>, GroupError>> {
                self.caller().call_many(number, arguments)
            }

            /// Begins a batch.
            #[doc(hidden)]
            pub fn begin(&self) -> Batch<'_, M> {
                self.caller().begin()
            }
        }
    };
}

impl Group<()> {
    /// Applies one command, which is encoded before this returns, if as many bytes may be sent. Who is given its answer
    /// is given what `finish` makes of it, be it late.
    pub(crate) fn call_if<A: Serialize, T: Send + 'static, F>(
        &self,
        number: u64,
        arguments: &A,
        may: &dyn Fn(usize) -> Result<(), GroupError>,
        finish: F,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<A, T, F>
    where
        F: FnOnce(&[u8]) -> Result<T, GroupError> + Send + 'static,
    {
        self.caller().call_if(number, arguments, may, finish)
    }

    /// Applies one command, whose arguments are encoded already.
    pub(crate) fn call_encoded<T: DeserializeOwned + Send + 'static>(
        &self,
        number: u64,
        arguments: &[u8],
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<T> {
        let command = [&number.to_le_bytes(), arguments].concat();
        self.caller().run(1, command.into(), decode_all)
    }
}

calls!(Group);
calls!(GroupClient);

impl<M: Send + Sync> GroupClient<M> {
    /// Asks one query, which is encoded before this returns.
    #[doc(hidden)]
    pub fn ask<A: Serialize, T: DeserializeOwned + Send + 'static>(
        &self,
        number: u64,
        arguments: &A,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<M, A, T> {
        let caller = self.caller();
        let query = packed(|bytes| append_call(bytes, number, arguments));
        async move { caller.query(query?).await }
    }
}

/// Commands that are gathered for one log entry, and the tuple of what they return.
pub struct Batch<'a, M, Outputs = ()> {
    caller: Caller,
    calls: Result<Calls, GroupError>,
    outputs: PhantomData<fn(&'a M) -> Outputs>,
}

impl<'a, M: Send + Sync, Outputs> Batch<'a, M, Outputs> {
    /// Adds a command.
    pub fn push<A: Serialize, T>(
        self,
        number: u64,
        arguments: &A,
    ) -> Batch<'a, M, Outputs::Extended>
    where
        Outputs: BatchOfAtMostTwelve<T>,
    {
        let calls = self.calls.and_then(|mut calls| {
            calls.push(number, arguments)?;
            Ok(calls)
        });
        Batch {
            caller: self.caller,
            calls,
            outputs: PhantomData,
        }
    }

    /// Applies the commands; nothing is sent if there are none.
    pub fn send(self) -> BoxFuture<'a, Result<Outputs, GroupError>>
    where
        Outputs: DeserializeOwned + Send + 'static,
    {
        let Self { caller, calls, .. } = self;
        async move {
            let calls = calls?;
            match calls.count {
                0 => decode_all(&[]),
                count => caller.run(count, calls.bytes.into(), decode_all).await,
            }
        }
        .boxed()
    }
}

impl<M, Outputs> fmt::Debug for Batch<'_, M, Outputs> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.calls.as_ref().map(|calls| calls.count).ok();
        f.debug_struct("Batch")
            .field("group", &self.caller)
            .field("commands", &count)
            .finish()
    }
}

/// A tuple that can hold one more output.
#[diagnostic::on_unimplemented(
    message = "a batch holds at most 12 commands",
    note = "send several batches, or use `_many` for many commands of one kind"
)]
pub trait BatchOfAtMostTwelve<T> {
    /// The tuple with it.
    type Extended;
}

macro_rules! extend {
    ($($output:ident)*) => {
        impl<T, $($output),*> BatchOfAtMostTwelve<T> for ($($output,)*) {
            type Extended = ($($output,)* T,);
        }
    };
}

extend!();
extend!(A);
extend!(A B);
extend!(A B C);
extend!(A B C D);
extend!(A B C D E);
extend!(A B C D E F);
extend!(A B C D E F G);
extend!(A B C D E F G H);
extend!(A B C D E F G H I);
extend!(A B C D E F G H I J);
extend!(A B C D E F G H I J K);

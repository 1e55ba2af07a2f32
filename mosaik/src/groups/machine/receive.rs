//! Receiving a snapshot, a chunk at a time.

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    file::Draft,
    snapshot::{Header, Place, Snapshot},
    store::Shared,
};
use crate::rt;

/// A snapshot that is being received. When it is dropped, it can be gone on with.
#[derive(Debug)]
pub(crate) struct Receiving {
    store: Arc<Shared>,
    /// `None` once it is finished.
    incoming: Option<Incoming>,
    _permit: OwnedSemaphorePermit,
}

/// What was received so far.
#[derive(Debug)]
pub(super) struct Incoming {
    header: Header,
    next: u64,
    /// Two kilobytes.
    checks: Box<blake3::Hasher>,
    place: Partial,
}

#[derive(Debug)]
enum Partial {
    Memory(Vec<Bytes>),
    File(Arc<Draft>),
}

impl Receiving {
    pub(super) async fn begin(store: &Arc<Shared>, header: Header) -> io::Result<Self> {
        let verified = header.verify(store.group, store.epoch);
        verified.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let permit = store.receiving.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            let text = "as many snapshots as may be are being received";
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })?;
        let partial = store.state().partial.take();
        let incoming = match partial.filter(|partial| partial.header == header) {
            Some(partial) => partial,
            None => Incoming::begin(store, header).await?,
        };
        Ok(Self {
            store: store.clone(),
            incoming: Some(incoming),
            _permit: permit,
        })
    }

    /// Number of the first chunk that is wanted.
    pub(crate) fn next(&self) -> u64 {
        self.incoming.as_ref().map_or(0, |incoming| incoming.next)
    }

    /// Takes the next chunk, as [`Snapshot::chunk`] gave it.
    ///
    /// # Errors
    /// When it is not that chunk, or the disk fails.
    pub(crate) async fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        let incoming = self.incoming.as_mut().ok_or_else(finished)?;
        incoming.push(chunk).await
    }

    /// All that was received, which has to be all. It counts once it is installed.
    ///
    /// # Errors
    /// When chunks are missing, all chunks together are not what the header says, or the disk fails.
    pub(crate) async fn finish(mut self) -> io::Result<Snapshot> {
        if self.next() < self.incoming.as_ref().map_or(0, |i| i.header.chunks) {
            let text = format!("a snapshot ends before chunk {}", self.next());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let incoming = self.incoming.take().ok_or_else(finished)?;
        incoming.finish().await
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take().filter(|incoming| incoming.next > 0) {
            self.store.state().partial = Some(incoming);
        }
    }
}

impl Incoming {
    async fn begin(store: &Arc<Shared>, header: Header) -> io::Result<Self> {
        store.sweep().await;
        let place = if let Some(dir) = store.dir.clone() {
            let (group, litter) = (store.group, store.litter.clone());
            let create = move || Draft::create(&dir, group, &litter);
            Partial::File(Arc::new(rt::blocking(create).await?))
        } else {
            Partial::Memory(Vec::new())
        };
        Ok(Self {
            header,
            next: 0,
            checks: Box::default(),
            place,
        })
    }

    async fn push(&mut self, chunk: Bytes) -> io::Result<()> {
        let n = self.next;
        let (_, check) = self.header.verify_chunk(n, chunk.clone())?;
        match &mut self.place {
            Partial::Memory(chunks) => chunks.push(chunk),
            Partial::File(draft) => {
                let draft = draft.clone();
                rt::blocking(move || draft.write(n, &chunk)).await?;
            }
        }
        self.checks.update(&check);
        self.next += 1;
        Ok(())
    }

    async fn finish(self) -> io::Result<Snapshot> {
        let header = self.header;
        if *self.checks.finalize().as_bytes() != header.digest {
            let text = "the chunks of a snapshot are not those of its header";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match self.place {
            Partial::Memory(chunks) => Ok(Snapshot::new(header, Place::Memory(chunks))),
            Partial::File(draft) => {
                rt::blocking(move || {
                    let file = draft.finish(&header)?;
                    Ok(Snapshot::new(header, Place::File(Arc::new(file))))
                })
                .await
            }
        }
    }
}

fn finished() -> io::Error {
    io::Error::other("a snapshot was received already")
}

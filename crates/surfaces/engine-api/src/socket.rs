//! A client's socket as hyper reads and writes it.
//!
//! Owns when its thread wakes up for it: for what the client sends. For room to write only while
//! there is none, since the kernel tells of room whenever a client reads, and telling it wakes the
//! thread with that client waiting (up to 0.1 ms where processors are virtual). It must not know
//! what the bytes mean.

#[cfg(test)]
mod tests;

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A stream socket that does not block: one of `std`'s two.
pub(crate) trait Stream: AsRawFd + AsFd + Unpin {
    /// Reads what is there.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what there is room for.
    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Says that nothing more will be written.
    fn finish(&self) -> io::Result<()>;
}

macro_rules! stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&mut &*self).read(buffer)
            }

            fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
                (&mut &*self).write_vectored(pieces)
            }

            fn finish(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }
        }
    };
}

stream!(std::os::unix::net::UnixStream);
stream!(std::net::TcpStream);

/// A client's socket.
#[derive(Debug)]
pub(crate) struct Socket<S: Stream> {
    stream: AsyncFd<S>,
    /// The same socket, waited on for room from the first time that there was none.
    room: Option<AsyncFd<OwnedFd>>,
}

fn watch<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what is given here owns one open descriptor for all its life and tells no other:
    // `std`'s two streams ([`Stream`] is for no more) and `OwnedFd`.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest) }?)
}

impl<S: Stream> Socket<S> {
    /// Takes a socket, which must not block; the calling thread is the runtime's.
    ///
    /// # Errors
    /// When it cannot be waited on.
    pub(crate) fn new(stream: S) -> io::Result<Self> {
        Ok(Self {
            stream: watch(stream, Interest::READABLE)?,
            room: None,
        })
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_ref().send(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                sent => return Poll::Ready(sent),
            }
            let room = match &mut self.room {
                Some(room) => room,
                none => {
                    let same = self.stream.get_ref().as_fd().try_clone_to_owned()?;
                    none.insert(watch(same, Interest::WRITABLE)?)
                }
            };
            let mut ready = ready!(room.poll_write_ready(context))?;
            // What is told from now on is room that came after this try.
            match self.stream.get_ref().send(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            let wanted = space.len();
            match ready.get_inner().receive(space) {
                Ok(read) => {
                    // It held no more, so that the next byte is told (epoll(7), edge-triggered).
                    if read > 0 && read < wanted {
                        ready.clear_ready();
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().finish())
    }
}

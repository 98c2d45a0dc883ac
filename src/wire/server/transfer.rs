//! COPY between client and session: bytes through, one piece at a time.

use super::link::Link;
use super::message::Message;
use super::{Failure, Stop, reply};
use crate::error::{Error, Result, codes};
use crate::wire::{COPY_DATA_BYTES_MAX, CopyChunk, CopySink};
use futures::StreamExt;
use futures::stream::BoxStream;

/// Takes CopyData until CopyDone; returns the rows stored. The sink's own pace is the client's: while it works, no
/// more than the read-ahead is taken from the network. An error drops the sink, which abandons the copy.
pub async fn copy_in(
    link: &mut Link,
    mut sink: Box<dyn CopySink>,
    columns: usize,
    binary: bool,
) -> Result<u64, Failure> {
    reply::copy_response(reply::COPY_IN_RESPONSE, columns, binary, &mut link.output);
    link.flush_of_statement().await?;
    loop {
        match link.next_message_of_statement().await? {
            Message::CopyData(data) => link.run(sink.write(data)).await??,
            Message::CopyDone => return Ok(link.run(sink.finish()).await??),
            Message::CopyFail(reason) => {
                let message = format!("COPY from stdin failed: {reason}");
                return Err(Error::new(codes::QUERY_CANCELED, message).into());
            }
            // Clients pipeline a Sync behind the Execute that begins the copy; as in PostgreSQL it does not count.
            Message::Flush | Message::Sync => {}
            Message::Terminate => return Err(Stop::Gone.into()),
            _ => {
                let error = Error::new(codes::PROTOCOL_VIOLATION, "unexpected message during COPY from stdin");
                return Err(Stop::Fatal(error).into());
            }
        }
    }
}

/// Sends all of `data`; returns the rows sent.
pub async fn copy_out(
    link: &mut Link,
    mut data: BoxStream<'static, Result<CopyChunk>>,
    columns: usize,
    binary: bool,
) -> Result<u64, Failure> {
    reply::copy_response(reply::COPY_OUT_RESPONSE, columns, binary, &mut link.output);
    let mut rows = 0;
    while let Some(chunk) = link.run(data.next()).await? {
        let chunk = chunk?;
        rows += chunk.rows;
        for piece in chunk.bytes.chunks(COPY_DATA_BYTES_MAX) {
            reply::copy_data(piece, &mut link.output);
            link.flush_if_full().await?;
        }
    }
    reply::bare(reply::COPY_DONE, &mut link.output);
    Ok(rows)
}

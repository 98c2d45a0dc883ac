use super::*;
use crate::limits::MESSAGE_BYTES_MAX;
use proptest::prelude::*;

/// Sends bytes; the connection must say `08P01` and end, and another one must not notice.
async fn ends_connection(bytes: &[u8]) {
    let mut raw = Raw::connected().await;
    let (other, server) = tokio::io::duplex(4096);
    raw.toy.serve(&raw.host, Box::new(server));
    raw.send(bytes).await;
    let end = raw.rest_of_stream().await;
    let last = end.last().unwrap_or_else(|| panic!("no word about {bytes:?}"));
    assert!(last.starts_with("E S=FATAL C=08P01"), "{end:?}");
    raw.stream = other;
    raw.send(&startup(&[("user", "alice")], VERSION_3_0)).await;
    raw.until(b'Z').await;
    assert_eq!(raw.ask(&query("insert")).await, ["C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn malformed_messages_end_their_connection_only() {
    let too_long = [&b"Q"[..], &(MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes()].concat();
    for bytes in [
        b"\0\0\0\0\0".to_vec(),
        b"Q\0\0\0\x03".to_vec(),
        b"Q\xff\xff\xff\xff".to_vec(),
        too_long,
        // A sync as long as a query may be.
        b"S\0\x10\0\0".to_vec(),
        // No NUL behind the text.
        message(b'Q', |out| out.put_slice(b"rows 1")),
        // More after the end.
        message(b'Q', |out| out.put_slice(b"rows 1\0\0")),
        // A bind that promises more parameters than it has, and one whose value is longer than the message.
        message(b'B', |out| out.put_slice(b"\0\0\0\0\xff\xff")),
        message(b'B', |out| out.put_slice(b"\0\0\0\0\0\x01\x7f\xff\xff\xff")),
        message(b'B', |out| out.put_slice(b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0")),
        message(b'P', |out| out.put_slice(b"\0\0\0\x05")),
        message(b'D', |out| out.put_slice(b"")),
        message(b'D', |out| out.put_slice(b"Xname\0")),
        message(b'E', |out| out.put_slice(b"\0\0")),
        message(b'p', |out| out.put_slice(b"password\0")),
    ] {
        ends_connection(&bytes).await;
    }
}

#[tokio::test]
async fn unexpected_message_during_copy_ends_the_connection() {
    let mut raw = Raw::connected().await;
    raw.send(&query("copy_in")).await;
    raw.until(b'G').await;
    raw.send(&query("insert")).await;
    let end = raw.rest_of_stream().await;
    assert_eq!(end, ["E S=FATAL C=08P01 M=unexpected message during COPY from stdin"]);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, the connection answers or ends; it neither panics nor hangs once the client is done.
    #[test]
    fn any_bytes_end_sooner_or_later(
        kinds in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
        framed in any::<bool>(),
        started in any::<bool>(),
    ) {
        runtime().block_on(async {
            let mut raw = if started { Raw::connected().await } else { Raw::silent(1) };
            for (kind, body) in &kinds {
                let known = b"QPBDECSHdcfpFX"[usize::from(*kind) % 14];
                let bytes = if framed { message(known, |out| out.put_slice(body)) } else { body.clone() };
                raw.send(&bytes).await;
            }
            raw.stream.shutdown().await.unwrap();
            raw.rest_of_stream().await;
        });
    }
}

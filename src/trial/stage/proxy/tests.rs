#![expect(clippy::disallowed_methods, reason = "the tests watch the proxy from both of its sides, in real time")]

use super::*;
use crate::host::real::real;
use crate::trial::stage::process::Folder;
use std::time::Instant;
use tokio::time::timeout;

/// A proxy from `a` to `b`, an end of a connection on each side, and the links.
struct Scene {
    links: Links,
    proxy: Proxy,
    listener: TcpListener,
    a: TcpStream,
    b: TcpStream,
    _folder: Folder,
}

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

async fn scene() -> Scene {
    let folder = Folder::new().unwrap();
    let host = real("client", &folder.path().join("client")).unwrap();
    let links = Links::new(&host, 1);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = links.open("a", "b", listener.local_addr().unwrap().port()).await.unwrap();
    let a = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (b, _) = listener.accept().await.unwrap();
    Scene { links, proxy, listener, a, b, _folder: folder }
}

async fn hears(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    timeout(LONG, stream.read_exact(&mut bytes)).await.expect("arrives in time").unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    let heard = timeout(SHORT, stream.read_u8()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn a_cut_link_holds_bytes_and_the_end_of_the_stream_until_it_is_mended() {
    let Scene { links, mut a, mut b, proxy: _proxy, .. } = scene().await;
    a.write_all(b"one").await.unwrap();
    hears(&mut b, "one").await;
    // One way only.
    links.trouble(1, "a", "b", Trouble::Cut);
    links.trouble(2, "a", "b", Trouble::Cut);
    a.write_all(b"two").await.unwrap();
    hears_nothing(&mut b).await;
    b.write_all(b"back").await.unwrap();
    hears(&mut a, "back").await;
    a.write_all(b"three").await.unwrap();
    a.shutdown().await.unwrap();
    links.mend(1);
    hears_nothing(&mut b).await;
    links.mend(2);
    hears(&mut b, "twothree").await;
    assert_eq!(timeout(LONG, b.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "the end of the stream");
    b.write_all(b"half-open").await.unwrap();
    hears(&mut a, "half-open").await;
}

#[tokio::test]
async fn a_connect_through_a_cut_link_is_held_and_goes_on_after_the_heal() {
    let Scene { links, proxy, listener, .. } = scene().await;
    links.trouble(1, "b", "a", Trouble::Cut);
    let mut a = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    a.write_all(b"hello").await.unwrap();
    assert!(timeout(SHORT, listener.accept()).await.is_err(), "the answer to a handshake has no way back");
    links.heal();
    let (mut b, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    hears(&mut b, "hello").await;
}

#[tokio::test]
async fn a_held_client_that_gives_up_never_reaches_the_server() {
    let Scene { links, proxy, listener, .. } = scene().await;
    links.trouble(1, "a", "b", Trouble::Cut);
    let mut a = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    a.write_all(b"hello").await.unwrap();
    drop(a);
    tokio::time::sleep(SHORT).await;
    links.heal();
    assert!(timeout(SHORT, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_slow_link_delays_each_piece_and_keeps_the_order() {
    let Scene { links, mut a, mut b, proxy: _proxy, .. } = scene().await;
    links.trouble(1, "a", "b", Trouble::Slow(Duration::from_millis(150)));
    let start = Instant::now();
    for piece in ["one", "two", "three"] {
        a.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hears(&mut b, "onetwothree").await;
    assert!((150..400).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    links.mend(1);
    links.trouble(2, "b", "a", Trouble::Lossy(1.0));
    let start = Instant::now();
    b.write_all(b"lost once").await.unwrap();
    hears(&mut a, "lost once").await;
    assert!(start.elapsed() >= RETRANSMISSION, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_reset_is_handed_on_as_one_in_both_directions() {
    let Scene { a, mut b, proxy: _proxy, .. } = scene().await;
    reset(&a);
    drop(a);
    let error = timeout(LONG, b.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let Scene { mut a, b, proxy: _proxy, .. } = scene().await;
    reset(&b);
    drop(b);
    let error = timeout(LONG, a.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nobody_listening_is_a_reset() {
    let Scene { proxy, listener, .. } = scene().await;
    drop(listener);
    let mut a = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let error = timeout(LONG, a.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_felt_by_the_sender() {
    let Scene { mut a, b, proxy: _proxy, .. } = scene().await;
    let piece = vec![7; 1024 * 1024];
    let mut sent = 0;
    while let Ok(written) = timeout(SHORT, a.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 256 << 20, "{sent} bytes are somewhere");
    }
    let mut b = b;
    let mut received = vec![0; sent];
    timeout(LONG, b.read_exact(&mut received)).await.unwrap().unwrap();
    assert!(received.iter().all(|byte| *byte == 7));
}

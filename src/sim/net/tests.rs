//! What programs see of the network, told as stories with two or three nodes.

use crate::host::{Host, Stream};
use crate::sim::record::Crash;
use crate::sim::world::{Fault, World, WorldConfig, run_simulation};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 5432;

fn tell<T: Send + 'static, Work: Future<Output = T>>(story: impl FnOnce(World) -> Work + Send + 'static) -> T {
    run_simulation(11, WorldConfig::default(), story)
}

/// Sends everything back.
async fn echo(host: Host) {
    let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        host.spawn("echo", async move {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                if stream.write_all(&bytes[..length]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Accepts and never reads.
async fn hoard(host: Host) {
    let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
    let mut streams = Vec::new();
    loop {
        streams.push(listener.accept().await.unwrap());
    }
}

async fn dial(host: &Host, to: &str) -> Stream {
    // The server may not listen yet.
    loop {
        match host.net().connect(to, PORT).await {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        }
    }
}

async fn ask(stream: &mut Stream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

/// A client with an echoing server, already talking.
async fn talking(world: &World) -> (Host, Stream) {
    world.start("dn1", echo);
    let client = world.node("client");
    let mut stream = dial(&client, "dn1").await;
    assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");
    (client, stream)
}

#[test]
fn a_round_trip_takes_about_a_millisecond_and_names_resolve() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        let start = client.monotonic();
        for _ in 0..100 {
            ask(&mut stream, "ping").await.unwrap();
        }
        let each = (client.monotonic() - start) / 100;
        assert!((Duration::from_micros(400)..Duration::from_millis(3)).contains(&each), "{each:?}");
        for name in ["dn1", "DN1.example.com", "10.0.0.1"] {
            assert_eq!(ask(&mut dial(&client, name).await, "x").await.unwrap(), "x");
        }
        let unknown = client.net().connect("dn9", PORT).await.err().unwrap();
        assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
        let refused = client.net().connect("dn1", 1).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let taken = world.node("dn1").net().listen("0.0.0.0", PORT).await.err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn bytes_keep_their_order_through_a_narrow_window() {
    let mut config = WorldConfig::default();
    config.net.window_bytes = 1_000;
    config.net.tail_chance = 0.3;
    run_simulation(3, config, |world| async move {
        let (client, stream) = talking(&world).await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..100_000u32).map(|index| (index * 7 % 251) as u8).collect();
        let copy = sent.clone();
        client.spawn("writer", async move {
            writer.write_all(&copy).await.unwrap();
        });
        let mut received = vec![0; sent.len()];
        reader.read_exact(&mut received).await.unwrap();
        assert!(received == sent, "bytes were lost, changed or reordered");
    });
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    tell(|world| async move {
        world.start("dn1", hoard);
        let client = world.node("client");
        let mut stream = dial(&client, "dn1").await;
        let mut written = 0;
        while let Ok(length) = client.timeout(Duration::from_secs(5), stream.write(&[0; 10_000])).await {
            written += length.unwrap();
        }
        assert_eq!(written, WorldConfig::default().net.window_bytes);
    });
}

#[test]
fn closing_ends_the_stream_after_the_last_byte() {
    tell(|world| async move {
        let (_, mut stream) = talking(&world).await;
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "last words");
        drop(stream);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.network().connections(), 0);
    });
}

#[test]
fn closing_with_unread_bytes_resets_the_peer() {
    tell(|world| async move {
        world.start("dn1", |host| async move {
            let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            host.sleep(Duration::from_secs(1)).await;
            drop(stream);
            std::future::pending::<()>().await;
        });
        let mut stream = dial(&world.node("client"), "dn1").await;
        stream.write_all(b"never read").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_partition_hangs_connects_and_stalls_streams_until_the_heal() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.partition(&["client"], &["dn1"]);
        stream.write_all(b"late").await.unwrap();
        let connect = client.timeout(Duration::from_secs(10), client.net().connect("dn1", PORT)).await;
        assert!(connect.is_err(), "a connect through a partition hangs");
        let mut answer = [0; 4];
        let read = client.timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await;
        assert!(read.is_err(), "a stream through a partition stalls");
        world.heal();
        let healed = client.monotonic();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"late");
        let delay = client.monotonic() - healed;
        assert!(delay < Duration::from_secs(6), "back-off is bounded: {delay:?}");
        assert_eq!(ask(&mut stream, "again").await.unwrap(), "again");
        dial(&client, "dn1").await;
    });
}

#[test]
fn a_connect_through_a_lasting_partition_times_out_at_last() {
    tell(|world| async move {
        let (client, _stream) = talking(&world).await;
        world.partition(&["client"], &["dn1"]);
        let start = client.monotonic();
        let error = client.net().connect("dn1", PORT).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!((client.monotonic() - start).as_secs(), 127);
    });
}

#[test]
fn a_one_way_partition_lets_the_other_direction_through() {
    tell(|world| async move {
        world.start("dn1", |host| async move {
            let mut listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            loop {
                stream.write_u8(7).await.unwrap();
                host.sleep(Duration::from_secs(1)).await;
            }
        });
        let client = world.node("client");
        let mut stream = dial(&client, "dn1").await;
        // The server has accepted: the last step of the handshake went the way that is cut now.
        assert_eq!(stream.read_u8().await.unwrap(), 7);
        world.partition_one_way(&["client"], &["dn1"]);
        for _ in 0..5 {
            assert_eq!(stream.read_u8().await.unwrap(), 7);
        }
        let connect = client.timeout(Duration::from_secs(5), client.net().connect("dn1", PORT)).await;
        assert!(connect.is_err(), "the request does not get there");
        world.heal();
        world.partition_one_way(&["dn1"], &["client"]);
        let connect = client.timeout(Duration::from_secs(5), client.net().connect("dn1", PORT)).await;
        assert!(connect.is_err(), "the answer does not get back");
        // What arrived before the cut can be read, then nothing comes.
        let drained = client.timeout(Duration::from_secs(60), async {
            while client.timeout(Duration::from_secs(5), stream.read_u8()).await.is_ok() {}
        });
        drained.await.expect("the bytes come to an end");
        world.heal();
        assert_eq!(stream.read_u8().await.unwrap(), 7);
    });
}

#[test]
fn a_killed_process_ends_its_streams_and_refuses_connects() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.crash("dn1", Crash::Process);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "end of stream");
        stream.write_all(b"x").await.expect("the first write is taken");
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let refused = client.net().connect("dn1", PORT).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        world.restart("dn1");
        assert_eq!(ask(&mut dial(&client, "dn1").await, "back").await.unwrap(), "back");
    });
}

#[test]
fn a_dark_machine_is_silent_and_resets_old_streams_when_it_is_back() {
    tell(|world| async move {
        let (client, mut writing) = talking(&world).await;
        let mut waiting = dial(&client, "dn1").await;
        ask(&mut waiting, "x").await.unwrap();
        world.crash("dn1", Crash::PowerLoss);
        writing.write_all(b"into the dark").await.unwrap();
        let minute = Duration::from_secs(60);
        let moment = Duration::from_secs(24);
        assert!(client.timeout(moment, waiting.read_u8()).await.is_err(), "no end, no reset");
        let unheard = client.timeout(Duration::from_secs(2), waiting.read_u8()).await.expect("keepalive gives up");
        assert_eq!(unheard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(client.timeout(minute, client.net().connect("dn1", PORT)).await.is_err(), "no refusal");
        assert!(client.timeout(minute, writing.read_u8()).await.is_err(), "only sent again and again");
        world.restart("dn1");
        let reset = client.timeout(Duration::from_secs(10), writing.read_u8()).await.expect("the machine answers");
        assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn who_only_waits_for_a_machine_that_is_back_learns_by_a_probe() {
    tell(|world| async move {
        let (client, mut waiting) = talking(&world).await;
        world.crash("dn1", Crash::PowerLoss);
        world.sleep(Duration::from_secs(1)).await;
        world.restart("dn1");
        let reset = client.timeout(Duration::from_secs(10), waiting.read_u8()).await.expect("the machine answers");
        assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_idle_stream_stands_a_short_partition_and_ends_in_a_long_one() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.partition_one_way(&["dn1"], &["client"]);
        world.sleep(Duration::from_secs(23)).await;
        world.heal();
        assert_eq!(ask(&mut stream, "still there").await.unwrap(), "still there");
        world.partition(&["client"], &["dn1"]);
        let unheard = client.timeout(Duration::from_secs(26), stream.read_u8()).await.expect("keepalive gives up");
        assert_eq!(unheard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop(stream);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.network().connections(), 0, "the server's end has given up too");
    });
}

#[test]
fn a_kill_behind_a_partition_is_learned_after_the_heal() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.partition(&["client"], &["dn1"]);
        world.crash("dn1", Crash::Process);
        let silent = client.timeout(Duration::from_secs(20), stream.read_u8()).await;
        assert!(silent.is_err(), "the end of the stream does not pass a partition");
        world.heal();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_paused_process_answers_when_it_goes_on() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.pause("dn1");
        let silent = client.timeout(Duration::from_secs(5), ask(&mut stream, "?")).await;
        assert!(silent.is_err());
        world.resume("dn1");
        assert_eq!(stream.read_u8().await.unwrap(), b'?');
    });
}

#[test]
fn loss_and_slow_links_only_delay() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        world.slow("client", "dn1", Duration::from_millis(100));
        let start = client.monotonic();
        ask(&mut stream, "slow").await.unwrap();
        assert!(client.monotonic() - start > Duration::from_millis(100));
        world.heal();
        world.lose("dn1", "client", 1.0);
        let start = client.monotonic();
        ask(&mut stream, "lost once").await.unwrap();
        assert!(client.monotonic() - start > Duration::from_millis(200));
    });
}

#[test]
fn a_narrow_link_holds_its_sender_back_and_a_tail_only_delays() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        let ends = (String::from("client"), String::from("dn1"));
        let narrow = Fault::Narrow { from: ends.0.clone(), to: ends.1.clone(), bytes_per_second: 100_000 };
        world.inflict(&Fault::For(Duration::from_secs(60), Box::new(narrow)));
        let start = client.monotonic();
        let mut sent = 0;
        // The window fills at once; what comes behind it waits for the wire.
        while sent < 1_000_000 {
            let chunk = [7; 1_000];
            stream.write_all(&chunk).await.unwrap();
            let mut back = [0; 1_000];
            stream.read_exact(&mut back).await.unwrap();
            sent += 10 * chunk.len();
        }
        let took = client.monotonic() - start;
        assert!(took >= Duration::from_secs(1), "100 kB at 100 kB a second took {took:?}");
        world.heal();
        let tail = Fault::Tail { from: ends.0, to: ends.1, chance: 1.0, by: Duration::from_millis(300) };
        world.inflict(&tail);
        let start = client.monotonic();
        for _ in 0..20 {
            ask(&mut stream, "late").await.unwrap();
        }
        let each = (client.monotonic() - start) / 20;
        assert!((Duration::from_millis(50)..Duration::from_millis(300)).contains(&each), "{each:?}");
    });
}

#[test]
fn a_listener_that_goes_away_resets_whom_it_did_not_accept() {
    tell(|world| async move {
        world.start("dn1", |host| async move {
            let listener = host.net().listen("0.0.0.0", PORT).await.unwrap();
            host.sleep(Duration::from_secs(1)).await;
            drop(listener);
            std::future::pending::<()>().await;
        });
        let client = world.node("client");
        let mut stream = dial(&client, "dn1").await;
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_partition_that_ends_by_itself_ends_no_other() {
    let part = |one_way| Fault::Partition { left: vec!["client".into()], right: vec!["dn1".into()], one_way };
    let lasting = move |seconds, one_way| Fault::For(Duration::from_secs(seconds), Box::new(part(one_way)));
    tell(move |world| async move {
        let (client, mut stream) = talking(&world).await;
        // Two on the same link: it is whole when both are over.
        world.inflict(&lasting(2, false));
        world.inflict(&lasting(5, true));
        let start = client.monotonic();
        ask(&mut stream, "after both").await.unwrap();
        assert!(client.monotonic() - start > Duration::from_secs(5));
        // One that was healed before its time ends nothing that came later.
        world.inflict(&lasting(2, false));
        world.heal();
        ask(&mut stream, "healed").await.unwrap();
        world.partition(&["client"], &["dn1"]);
        let stalls = client.timeout(Duration::from_secs(10), ask(&mut stream, "cut")).await;
        assert!(stalls.is_err(), "the later partition has no end");
    });
}

#[test]
fn a_slow_and_a_lossy_link_end_by_themselves() {
    tell(|world| async move {
        let (client, mut stream) = talking(&world).await;
        let (from, to) = ("client".to_string(), "dn1".to_string());
        let slow = Fault::Slow { from: from.clone(), to: to.clone(), by: Duration::from_millis(300) };
        let lose = Fault::Lose { from, to, chance: 1.0 };
        world.inflict(&Fault::For(Duration::from_secs(1), Box::new(Fault::All(vec![slow, lose]))));
        let start = client.monotonic();
        ask(&mut stream, "late").await.unwrap();
        assert!(client.monotonic() - start > Duration::from_millis(500));
        world.sleep(Duration::from_secs(1)).await;
        let start = client.monotonic();
        ask(&mut stream, "fast").await.unwrap();
        assert!(client.monotonic() - start < Duration::from_millis(100));
    });
}

use super::*;
use crate::{Kind, Lifetime, epoch};

const INSIDE: &str = "192.168.1.2:5000";
const SERVER: &str = "198.51.100.1:3478";
const SERVER_OTHER_PORT: &str = "198.51.100.1:3479";
const OTHER: &str = "198.51.100.2:3478";

struct Router(Table, Rng, Instant);

impl Router {
    fn new(nat: Nat) -> Self {
        Self(Table::new(nat, "203.0.113.9".parse().unwrap()), Rng::new(3), epoch())
    }

    fn out(&mut self, from: &str, to: &str) -> SocketAddr {
        self.0.outbound(from.parse().unwrap(), to.parse().unwrap(), self.2, &mut self.1).unwrap()
    }

    fn comes_in(&mut self, external: SocketAddr, from: &str) -> bool {
        self.0.inbound(external, from.parse().unwrap(), self.2).is_ok()
    }

    fn wait(&mut self, seconds: u64) {
        self.2 += Duration::from_secs(seconds);
    }
}

#[test]
fn each_kind_maps_and_filters_as_its_name_says() {
    // kind, same port towards: another port of the server, another host; lets in: another port, another host
    let rows = [
        (Kind::Full, [true, true], [true, true]),
        (Kind::Addr, [true, true], [true, false]),
        (Kind::Port, [true, true], [false, false]),
        (Kind::PortRandom, [true, true], [false, false]),
        (Kind::Symmetric, [false, false], [false, false]),
        (Kind::SymmetricSequential, [false, false], [false, false]),
        (Kind::SymmetricBlock, [false, false], [false, false]),
        (Kind::SymmetricAddr, [true, false], [true, false]),
        (Kind::Carrier, [true, true], [true, true]),
    ];
    for (kind, same, lets_in) in rows {
        let mut router = Router::new(kind.nat());
        let external = router.out(INSIDE, SERVER);
        assert!(router.comes_in(external, SERVER), "{kind}");
        assert_eq!([SERVER_OTHER_PORT, OTHER].map(|from| router.comes_in(external, from)), lets_in, "{kind}");
        assert_eq!([SERVER_OTHER_PORT, OTHER].map(|to| router.out(INSIDE, to) == external), same, "{kind}");
    }
}

#[test]
fn ports_are_given_as_the_kind_says() {
    let ports = |kind: Kind| {
        let mut router = Router::new(kind.nat());
        [SERVER, SERVER_OTHER_PORT, OTHER].map(|to| router.out(INSIDE, to).port())
    };
    assert_eq!(ports(Kind::Port), [5000; 3]);
    let [a, b, c] = ports(Kind::SymmetricSequential);
    assert_eq!([b, c], [a + 1, a + 2]);
    let block = ports(Kind::SymmetricBlock).map(|port| port / 512);
    assert_eq!(block, [block[0]; 3]);
}

#[test]
fn a_second_host_with_the_same_port_gets_another_port_of_its_own() {
    let mut router = Router::new(Kind::Port.nat());
    let first = router.out(INSIDE, SERVER);
    let second = router.out("192.168.1.3:5000", SERVER);
    assert_ne!(first, second);
    assert_eq!(router.out("192.168.1.3:5000", OTHER), second);
}

#[test]
fn a_linux_router_gives_two_hosts_one_port_and_tells_them_apart_by_their_remotes() {
    let mut router = Router::new(Kind::Linux.nat());
    let first = router.out(INSIDE, SERVER);
    let elsewhere = router.out("192.168.1.3:5000", OTHER);
    let clashing = router.out("192.168.1.3:5000", SERVER);

    assert_eq!(first, elsewhere);
    assert_ne!(first, clashing, "the second host's mapping depends on where it sends");
    let answer = |router: &mut Router, to: SocketAddr, from: &str| {
        router.0.inbound(to, from.parse().unwrap(), router.2).map(|inside| inside.to_string())
    };
    assert_eq!(answer(&mut router, first, SERVER), Ok(INSIDE.into()));
    assert_eq!(answer(&mut router, first, OTHER), Ok("192.168.1.3:5000".into()));
    assert_eq!(answer(&mut router, clashing, SERVER), Ok("192.168.1.3:5000".into()));
}

#[test]
fn an_unanswered_mapping_lasts_30_seconds_and_an_answered_one_120() {
    let mut router = Router::new(Kind::Port.nat());
    let external = router.out(INSIDE, SERVER);
    router.wait(29);
    assert!(router.comes_in(external, SERVER));
    router.wait(119);
    assert!(router.comes_in(external, SERVER));
    router.wait(120);
    assert!(!router.comes_in(external, SERVER));
    router.out(INSIDE, SERVER);
    router.wait(30);
    assert!(!router.comes_in(external, SERVER));
}

#[test]
fn an_absolute_lifetime_ends_a_mapping_in_use() {
    let lifetime = Lifetime { absolute: Some(Duration::from_secs(60)), ..Lifetime::default() };
    let mut router = Router::new(Nat { lifetime, ..Nat::default() });
    let external = router.out(INSIDE, SERVER);
    for _ in 0..6 {
        assert!(router.comes_in(external, SERVER));
        router.wait(10);
    }
    assert!(!router.comes_in(external, SERVER));
}

#[test]
fn an_early_datagram_poisons_its_own_tuple_and_no_other() {
    let mut router = Router::new(Kind::LinuxOpen.nat());
    let external = router.out(INSIDE, SERVER);
    assert!(!router.comes_in(external, OTHER));
    assert_ne!(router.out(INSIDE, OTHER), external);
    assert_eq!(router.out(INSIDE, SERVER_OTHER_PORT), external);

    let mut harmless = Router::new(Kind::Port.nat());
    let external = harmless.out(INSIDE, SERVER);
    assert!(!harmless.comes_in(external, OTHER));
    assert_eq!(harmless.out(INSIDE, OTHER), external);
}

#[test]
fn a_full_table_refuses() {
    let mut router = Router::new(Nat { table_limit: 1, ..Kind::Symmetric.nat() });
    router.out(INSIDE, SERVER);
    let refused =
        router.0.outbound(INSIDE.parse().unwrap(), OTHER.parse().unwrap(), router.2, &mut Rng::new(1)).unwrap_err();
    assert_eq!(refused, DropReason::TableFull);
}

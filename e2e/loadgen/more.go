// Scenarios that a whole benchmark needs beside the plain loads.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

var (
	method = flag.String("method", "GET", "raw scenario: HTTP method")
	path   = flag.String("path", "/readyz", "raw scenario: URL below the server's")
	fan    = flag.Int("fan", 100, "tree scenario: children of each workspace above the leaves")
	skip   = flag.Int("skip", 0, "tree scenario: workspaces that are there already")
	rate   = flag.Float64("rate", 200, "fair scenario: requests a second of a tenant that keeps to its share")
	turns  = flag.Int("turns", 3, "fair scenario: turns of -seconds with the greedy tenant, and as many without")
	others = flag.Int("others", 4, "fair scenario: tenants that keep to their share")
	factor = flag.Float64("factor", 10, "fair scenario: how many shares the greedy tenant asks for")
)

func requireClient() {
	if len(clients) == 0 {
		clients = append(clients, newClient())
	}
}

// raw makes one request with the body from standard input, if it is not GET, and prints the answer's body.
func raw() {
	requireClient()
	var body []byte
	if *method != "GET" && *method != "DELETE" {
		body, _ = io.ReadAll(os.Stdin)
	}
	code, answer, err := do(0, *method, *path, "application/json", body)
	if err != nil {
		fail("%v", err)
	}
	os.Stdout.Write(answer)
	if code >= 300 && code != 409 {
		fail("%s %s: %d", *method, *path, code)
	}
}

// ready waits until the server says that it is.
func ready() {
	requireClient()
	t0 := time.Now()
	for time.Since(t0) < time.Duration(*seconds)*time.Second {
		if code, _, err := do(0, "GET", "/readyz", "", nil); err == nil && code == 200 {
			b, _ := json.Marshal(map[string]any{"scenario": "ready", "seconds": time.Since(t0).Seconds()})
			fmt.Println(string(b))
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	fail("not ready in %d s", *seconds)
}

// tree makes workspaces in three levels below the cluster, from the skip-th to the n-th: one, fan below it, and then fan
// below each of those, one after the other.
func tree(l *lat) {
	cpu0, rss0 := usage()
	t0 := time.Now()
	top := *cluster + ":" + *prefix + "-top"
	var ok, bad int64
	first := ""
	level := func(parent string, from, to int, name func(int) string) {
		if from >= to {
			return
		}
		at := "/clusters/" + parent + "/apis/tenancy.kcp.io/v1alpha1/workspaces"
		rd := &readiness{ready: map[string]chan struct{}{}}
		rd.watch(at, to-from)
		o, b, f := each(to-from, func(i int) error { return makeWorkspace(rd, at, name(from+i), i, l) })
		ok, bad = ok+o, bad+b
		if first == "" {
			first = f
		}
	}
	mid := func(i int) string { return fmt.Sprintf("m-%d", i) }
	// The part of [skip, n) that a level of the given size, which begins at start, has.
	part := func(start, size int) (int, int) { return max(*skip, start) - start, min(*n, start+size) - start }
	from, to := part(0, 1)
	level(*cluster, from, to, func(int) string { return *prefix + "-top" })
	from, to = part(1, *fan)
	level(top, from, to, mid)
	for i := 0; 1+*fan+i**fan < *n; i++ {
		from, to = part(1+*fan+i**fan, *fan)
		level(top+":"+mid(i), from, to, func(k int) string { return fmt.Sprintf("l-%d", k) })
	}
	cpu1, rss1 := usage()
	report("tree", ok, bad, time.Since(t0), l, cpu1-cpu0, rss0, rss1, map[string]any{"first_error": first})
}

// tenant sends gets and creates, one to one, at a rate that does not depend on the answers.
type tenant struct {
	cluster string
	rate    float64
	lat     lat
	sent    int64
	refused int64
	failed  int64
	spread  bool // over all connections
}

func (t *tenant) run(index int, stop time.Time, serial *int64, payload string) {
	var wg sync.WaitGroup
	r := rand.New(rand.NewSource(int64(index)))
	inFlight := make(chan struct{}, 1024)
	next := time.Now()
	for time.Now().Before(stop) {
		// Exponential gaps: arrivals of many independent clients.
		next = next.Add(time.Duration(r.ExpFloat64() / t.rate * float64(time.Second)))
		time.Sleep(time.Until(next))
		select {
		case inFlight <- struct{}{}:
		default:
			t.refused++
			continue
		}
		due, n := next, atomic.AddInt64(serial, 1)
		wg.Add(1)
		go func() {
			defer func() { <-inFlight; wg.Done() }()
			index := index
			if t.spread {
				index = int(n / 2)
			}
			at := "/clusters/" + t.cluster + "/api/v1/namespaces/default/configmaps"
			var code int
			var err error
			if n%2 == 0 {
				code, _, err = do(index, "POST", at, "application/json", cmBody(fmt.Sprintf("%s-f-%d-%d", *prefix, os.Getpid(), n), payload))
			} else {
				code, _, err = do(index, "GET", at+"/kube-root-ca.crt", "", nil)
			}
			atomic.AddInt64(&t.sent, 1)
			switch {
			case err == nil && code < 300:
				t.lat.add(time.Since(due))
			case err == nil && code == 429:
				atomic.AddInt64(&t.refused, 1)
			default:
				atomic.AddInt64(&t.failed, 1)
			}
		}()
	}
	wg.Wait()
}

// fair measures the latency of tenants that keep to their share, without and with one beside them that does not, in turns.
// The workspaces are <cluster>-0 and on; the greedy tenant's is the last.
//
// The greedy tenant is another process that yields the processor to this one: as a client elsewhere it would take none of
// this machine's, and what is asked is how the server shares what it has. That it got its requests out nevertheless is
// checked. Turns alternate (ABBA…), so that what grows with the store or the hour is in both alike.
func fair(payload string) {
	var serial int64
	phase := func(without, with *lat, greedy bool) int64 {
		var tenants []*tenant
		for i := 0; i < *others; i++ {
			tenants = append(tenants, &tenant{cluster: fmt.Sprintf("%s-%d", *cluster, i), rate: *rate})
		}
		stop := time.Now().Add(time.Duration(*seconds) * time.Second)
		var wg sync.WaitGroup
		for i, t := range tenants {
			wg.Add(1)
			go func() { defer wg.Done(); t.run(i, stop, &serial, payload) }()
		}
		wg.Wait()
		all := without
		if greedy {
			all = with
		}
		var failed int64
		for _, t := range tenants {
			all.v = append(all.v, t.lat.v...)
			failed += t.failed + t.refused
		}
		return failed
	}
	for len(clients) < *others { // a connection for each
		clients = append(clients, newClient())
	}
	phase(&lat{}, &lat{}, false) // connections, caches
	cpu0, rss0 := usage()
	t0 := time.Now()
	var without, with lat
	var failed int64
	var g greedyReport
	for turn := 0; turn < 2**turns; turn++ {
		loaded := turn%4 == 1 || turn%4 == 2
		if !loaded {
			failed += phase(&without, &with, false)
			continue
		}
		done := startGreedy()
		time.Sleep(greedyLead)
		failed += phase(&without, &with, true)
		one := done()
		g.Sent += one.Sent
		g.Refused += one.Refused
		g.Failed += one.Failed
		g.Seconds += one.Seconds
	}
	cpu1, rss1 := usage()
	ratio := 0.0
	if without.q(.99) > 0 {
		ratio = with.q(.99) / without.q(.99)
	}
	// A greedy tenant that did not ask for what it should shows nothing.
	asked := float64(g.Sent+g.Refused) / g.Seconds
	if asked < .9**rate**factor {
		fail("the greedy tenant asked for %.0f/s only", asked)
	}
	report("fair", int64(len(without.v)+len(with.v))+g.Sent, failed, time.Since(t0), &with, cpu1-cpu0, rss0, rss1, map[string]any{
		"others_p50_ms": without.q(.5), "others_p99_ms": without.q(.99), "others_p50_loaded_ms": with.q(.5),
		"others_p99_loaded_ms": with.q(.99), "p99_ratio": ratio, "samples": len(without.v), "samples_loaded": len(with.v),
		"greedy_per_s": asked, "greedy_refused": g.Refused, "greedy_failed": g.Failed, "share_per_s": *rate, "others": *others,
		"factor": *factor, "turns": *turns})
}

// The greedy tenant begins this long before its neighbours are measured and goes on as long after.
const greedyLead = time.Second

type greedyReport struct {
	Sent, Refused, Failed int64
	Seconds               float64
}

// startGreedy runs the greedy tenant in a process of its own; what is returned waits for its report.
func startGreedy() func() greedyReport {
	self, err := os.Executable()
	if err != nil {
		fail("%v", err)
	}
	length := *seconds + int(2*greedyLead/time.Second)
	c := exec.Command("nice", "-n", "10", self, "-server", *server, "-token", *token, "-cert", *certFile, "-key", *keyFile,
		"-scenario", "greedy", "-cluster", fmt.Sprintf("%s-%d", *cluster, *others), "-rate", fmt.Sprint(*rate**factor),
		"-seconds", fmt.Sprint(length), "-size", fmt.Sprint(*size), "-prefix", *prefix+"-greedy", "-conns", fmt.Sprint(*conns))
	c.Stderr = os.Stderr
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		fail("%v", err)
	}
	return func() (r greedyReport) {
		if err := c.Wait(); err != nil {
			fail("the greedy tenant: %v", err)
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			fail("the greedy tenant: %v", err)
		}
		return r
	}
}

// greedy is what startGreedy starts: one tenant over all its connections.
func greedy(payload string) {
	for len(clients) < *conns {
		clients = append(clients, newClient())
	}
	var serial int64
	t := &tenant{cluster: *cluster, rate: *rate, spread: true}
	t0 := time.Now()
	t.run(0, t0.Add(time.Duration(*seconds)*time.Second), &serial, payload)
	b, _ := json.Marshal(greedyReport{Sent: t.sent, Refused: t.refused, Failed: t.failed, Seconds: float64(*seconds)})
	fmt.Println(string(b))
}

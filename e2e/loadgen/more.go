// Scenarios that a whole benchmark needs beside the plain loads.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
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

// fair measures the latency of tenants that keep to their share, without and with one beside them that does not. The
// workspaces are <cluster>-0 and on; the greedy tenant's is the last.
func fair(payload string) {
	var serial int64
	phase := func(greedy bool) (float64, float64, *tenant, int64) {
		all := &lat{}
		var tenants []*tenant
		for i := 0; i < *others; i++ {
			tenants = append(tenants, &tenant{cluster: fmt.Sprintf("%s-%d", *cluster, i), rate: *rate})
		}
		g := &tenant{cluster: fmt.Sprintf("%s-%d", *cluster, *others), rate: *rate * *factor}
		if greedy {
			tenants = append(tenants, g)
		}
		stop := time.Now().Add(time.Duration(*seconds) * time.Second)
		var wg sync.WaitGroup
		for i, t := range tenants {
			wg.Add(1)
			go func() { defer wg.Done(); t.run(i, stop, &serial, payload) }()
		}
		wg.Wait()
		var failed int64
		for _, t := range tenants[:*others] {
			all.v = append(all.v, t.lat.v...)
			failed += t.failed + t.refused
		}
		return all.q(.5), all.q(.99), g, failed
	}
	for len(clients) <= *others { // a connection for each
		clients = append(clients, newClient())
	}
	phase(false) // connections, caches
	cpu0, rss0 := usage()
	t0 := time.Now()
	p50, p99, _, failed0 := phase(false)
	loaded50, loaded99, g, failed1 := phase(true)
	cpu1, rss1 := usage()
	ratio := 0.0
	if p99 > 0 {
		ratio = loaded99 / p99
	}
	report("fair", g.sent, failed0+failed1, time.Since(t0), &g.lat, cpu1-cpu0, rss0, rss1, map[string]any{
		"others_p50_ms": p50, "others_p99_ms": p99, "others_p50_loaded_ms": loaded50, "others_p99_loaded_ms": loaded99,
		"p99_ratio": ratio, "greedy_refused": g.refused, "share_per_s": *rate, "others": *others, "factor": *factor})
}

// For clusters of several nodes, from one contact point, with the policy that gocql's documentation advises:
//
//	go_driver HOST write TABLE N   writes rows 0 to N of a table with columns k and v, for whoever counts where they come
//	go_driver HOST follow TABLE    prints `hosts …` and `columns …` whenever what the driver knows has changed, until stdin ends
package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
)

const (
	writersAtOnce = 32
	lookEvery     = 100 * time.Millisecond
)

// Known passes everything on to the policy it wraps, and remembers which hosts the driver told it of: gocql lists them nowhere.
type known struct {
	gocql.HostSelectionPolicy
	lock  sync.Mutex
	hosts map[string]bool
}

func (k *known) AddHost(host *gocql.HostInfo) {
	k.lock.Lock()
	k.hosts[host.ConnectAddress().String()] = true
	k.lock.Unlock()
	k.HostSelectionPolicy.AddHost(host)
}

func (k *known) RemoveHost(host *gocql.HostInfo) {
	k.lock.Lock()
	delete(k.hosts, host.ConnectAddress().String())
	k.lock.Unlock()
	k.HostSelectionPolicy.RemoveHost(host)
}

func (k *known) list() []string {
	k.lock.Lock()
	defer k.lock.Unlock()
	return sorted(k.hosts)
}

func sorted[V any](of map[string]V) []string {
	words := make([]string, 0, len(of))
	for word := range of {
		words = append(words, word)
	}
	sort.Strings(words)
	return words
}

func onCluster(host string, words []string) error {
	policy := &known{HostSelectionPolicy: gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy()), hosts: map[string]bool{}}
	keyspace, table, found := strings.Cut(words[1], ".")
	if !found {
		return fmt.Errorf("%q is no KEYSPACE.TABLE", words[1])
	}
	cluster := gocql.NewCluster(host)
	cluster.Keyspace = keyspace
	cluster.Timeout = 20 * time.Second
	cluster.PoolConfig.HostSelectionPolicy = policy
	session, err := cluster.CreateSession()
	if err != nil {
		return err
	}
	defer session.Close()
	switch {
	case words[0] == "write" && len(words) == 3:
		rows, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		return write(session, table, rows)
	case words[0] == "follow" && len(words) == 2:
		return follow(session, policy, keyspace, table)
	}
	return fmt.Errorf("usage: go_driver HOST [write TABLE N | follow TABLE]")
}

func write(session *gocql.Session, table string, rows int) error {
	keys := make(chan int)
	failures := make(chan error, writersAtOnce)
	var writers sync.WaitGroup
	for i := 0; i < writersAtOnce; i++ {
		writers.Add(1)
		go func() {
			defer writers.Done()
			var failed error
			for key := range keys {
				if err := session.Query("INSERT INTO "+table+" (k, v) VALUES (?, ?)", key, key).Exec(); err != nil {
					failed = err
				}
			}
			failures <- failed
		}()
	}
	for key := 0; key < rows; key++ {
		keys <- key
	}
	close(keys)
	writers.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

func follow(session *gocql.Session, policy *known, keyspace, table string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	said := map[string]string{}
	tell := func(what string, words []string) {
		if line := strings.Join(words, " "); line != said[what] {
			said[what] = line
			fmt.Println(what, line)
		}
	}
	for {
		tell("hosts", policy.list())
		// Kept by the driver until an event says that it changed.
		if described, err := session.KeyspaceMetadata(keyspace); err == nil {
			if found, there := described.Tables[table]; there {
				tell("columns", sorted(found.Columns))
			}
		}
		select {
		case <-ended:
			return nil
		case <-time.After(lookEvery):
		}
	}
}

// Gocql, with its defaults, against a server: `go_driver HOST`; see cluster.go for `write` and `follow`.
//
// Each case prints `ok NAME` or `FAILED NAME: why`; the last line is `N passed, N failed`.
package main

import (
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/gocql/gocql"
)

const keyspace = "go_driver"

func table(session *gocql.Session, name, columns string) error {
	if err := session.Query("DROP TABLE IF EXISTS " + name).Exec(); err != nil {
		return err
	}
	return session.Query("CREATE TABLE " + name + " (" + columns + ")").Exec()
}

func same(got, expected any) error {
	if !reflect.DeepEqual(got, expected) {
		return fmt.Errorf("got %v, expected %v", got, expected)
	}
	return nil
}

func values(session *gocql.Session) error {
	if err := table(session, "everything", "k int PRIMARY KEY, t text, l list<int>, m map<text, int>, u uuid, w timestamp, b blob, d double"); err != nil {
		return err
	}
	key := gocql.MustRandomUUID()
	when := time.UnixMilli(1700000000123).UTC()
	insert := "INSERT INTO everything (k, t, l, m, u, w, b, d) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	if err := session.Query(insert, 1, "ünï", []int{3, 1}, map[string]int{"a": 1}, key, when, []byte{0, 255}, 1.5).Exec(); err != nil {
		return err
	}
	row := map[string]any{}
	if err := session.Query("SELECT * FROM everything WHERE k = ?", 1).MapScan(row); err != nil {
		return err
	}
	return same(row, map[string]any{"k": 1, "t": "ünï", "l": []int{3, 1}, "m": map[string]int{"a": 1}, "u": key, "w": when,
		"b": []byte{0, 255}, "d": 1.5})
}

func paging(session *gocql.Session) error {
	if err := table(session, "paging", "p int, c int, PRIMARY KEY (p, c)"); err != nil {
		return err
	}
	for c := 0; c < 300; c++ {
		if err := session.Query("INSERT INTO paging (p, c) VALUES (?, ?)", c%3, c).Exec(); err != nil {
			return err
		}
	}
	for _, size := range []int{1, 7, 5000} {
		scanner := session.Query("SELECT p, c FROM paging").PageSize(size).Iter().Scanner()
		seen := map[int]bool{}
		for scanner.Next() {
			var p, c int
			if err := scanner.Scan(&p, &c); err != nil {
				return err
			}
			seen[c] = true
		}
		if err := scanner.Err(); err != nil {
			return err
		}
		if err := same(len(seen), 300); err != nil {
			return err
		}
	}
	return nil
}

func batches(session *gocql.Session) error {
	if err := table(session, "batches", "k int PRIMARY KEY, v text"); err != nil {
		return err
	}
	batch := session.NewBatch(gocql.LoggedBatch)
	batch.Query("INSERT INTO batches (k, v) VALUES (?, ?)", 1, "one")
	batch.Query("INSERT INTO batches (k, v) VALUES (?, ?)", 2, "two")
	if err := session.ExecuteBatch(batch); err != nil {
		return err
	}
	var count int
	if err := session.Query("SELECT count(*) FROM batches").Scan(&count); err != nil {
		return err
	}
	return same(count, 2)
}

func conditions(session *gocql.Session) error {
	if err := table(session, "conditions", "k int PRIMARY KEY, v int"); err != nil {
		return err
	}
	for value, expected := range []bool{true, false} {
		previous := map[string]any{}
		applied, err := session.Query("INSERT INTO conditions (k, v) VALUES (1, ?) IF NOT EXISTS", value).MapScanCAS(previous)
		if err != nil {
			return err
		}
		if err := same(applied, expected); err != nil {
			return err
		}
	}
	return nil
}

func metadata(session *gocql.Session) error {
	if err := table(session, "metadata", "a int, b text, c int, PRIMARY KEY ((a, b), c)"); err != nil {
		return err
	}
	found, err := session.KeyspaceMetadata(keyspace)
	if err != nil {
		return err
	}
	described, there := found.Tables["metadata"]
	if !there {
		return fmt.Errorf("the table is not in the metadata")
	}
	return same([]int{len(described.PartitionKey), len(described.ClusteringColumns)}, []int{2, 1})
}

func run(host string) (passed, failed int) {
	cluster := gocql.NewCluster(host)
	cluster.Timeout = 20 * time.Second
	admin, err := cluster.CreateSession()
	if err == nil {
		replication := "{'class': 'SimpleStrategy', 'replication_factor': 1}"
		err = admin.Query("CREATE KEYSPACE IF NOT EXISTS " + keyspace + " WITH replication = " + replication).Exec()
		admin.Close()
	}
	cluster.Keyspace = keyspace
	var session *gocql.Session
	if err == nil {
		session, err = cluster.CreateSession()
	}
	if err != nil {
		fmt.Printf("FAILED connect: %v\n", err)
		return 0, 1
	}
	defer session.Close()
	fmt.Println("ok connect")
	passed = 1
	cases := []struct {
		name string
		run  func(*gocql.Session) error
	}{{"values", values}, {"paging", paging}, {"batches", batches}, {"conditions", conditions}, {"metadata", metadata}}
	for _, each := range cases {
		if err := each.run(session); err != nil {
			fmt.Printf("FAILED %s: %v\n", each.name, err)
			failed++
		} else {
			fmt.Printf("ok %s\n", each.name)
			passed++
		}
	}
	return passed, failed
}

func main() {
	if len(os.Args) > 3 {
		if err := onCluster(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	passed, failed := run(os.Args[1])
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

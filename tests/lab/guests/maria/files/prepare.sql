-- The lab's networks are nobody else's. The table is sysbench's (oltp_common.lua), 10,000 rows.
CREATE DATABASE bench;
CREATE TABLE bench.sbtest1 (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, k int NOT NULL DEFAULT 0, c char(120) NOT NULL DEFAULT '', pad char(60) NOT NULL DEFAULT '', KEY k_1 (k)) ENGINE=InnoDB;
INSERT INTO bench.sbtest1 SELECT seq, 1 + seq * 7919 % 10000, sha2(seq, 256), md5(seq) FROM mysql.seq_1_to_10000;
FLUSH PRIVILEGES;
CREATE USER root@'10.78.0.%';
GRANT ALL ON *.* TO root@'10.78.0.%';

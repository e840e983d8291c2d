select
    origin_airport,
    destination_airport,
    min(distance_miles) as distance_miles,
    {{ delay_measures() }}
from {{ ref('stg_flights') }}
group by origin_airport, destination_airport
